//! The statements for a table.

/// All statements, with the table's name in them. What may be large is NULL where it is larger
/// than the parameter that says how much may be read.
pub(crate) struct Statements {
    /// The table's name, quoted.
    pub(crate) table: String,
    pub(crate) look: String,
    pub(crate) make: String,
    pub(crate) get: String,
    pub(crate) set: String,
    pub(crate) delete: String,
    pub(crate) exists: String,
    pub(crate) keys: String,
    pub(crate) get_many: String,
    pub(crate) set_many: String,
    pub(crate) delete_many: String,
    pub(crate) increment: String,
    pub(crate) swap: String,
    pub(crate) add: String,
}

/// What is longer is cut off.
const LONGEST_NAME: usize = 63;

/// What a key takes beside its bytes.
const KEY: usize = size_of::<String>();

impl Statements {
    /// `parts` are the table's name and, before it, its schema.
    ///
    /// # Errors
    /// A name that PostgreSQL would cut off, so that another could become the same.
    pub(crate) fn new(parts: &[&str]) -> Result<Self, String> {
        if let Some(long) = parts.iter().find(|part| part.len() > LONGEST_NAME) {
            return Err(format!(
                "a name in PostgreSQL has at most {LONGEST_NAME} bytes, and `{long}` has {}",
                long.len()
            ));
        }
        let quoted = parts.iter();
        let quoted: Vec<String> = quoted
            .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
            .collect();
        let t = quoted.join(".");
        let sum = bytes_of(&format!("{} + $2", number_of("t.value")));
        Ok(Statements {
            look: "SELECT to_regclass($1) IS NOT NULL".to_owned(),
            make: format!(
                "CREATE TABLE IF NOT EXISTS {t} (key text PRIMARY KEY, value bytea NOT NULL)"
            ),
            get: format!(
                "SELECT CASE WHEN octet_length(value) <= $2 THEN value END FROM {t} WHERE key = $1"
            ),
            set: format!(
                "INSERT INTO {t} (key, value) VALUES ($1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            ),
            delete: format!("DELETE FROM {t} WHERE key = $1"),
            exists: format!("SELECT 1 FROM {t} WHERE key = $1"),
            keys: format!(
                "WITH all_keys AS (SELECT coalesce(sum(octet_length(key) + {KEY}), 0) <= $1 AS fit FROM {t})
                 SELECT key FROM {t}, all_keys WHERE fit
                 UNION ALL SELECT NULL FROM all_keys WHERE NOT fit"
            ),
            get_many: format!(
                "SELECT key, CASE WHEN sum(octet_length(value)) OVER () <= $2 THEN value END
                 FROM {t} WHERE key = ANY($1)"
            ),
            set_many: format!(
                "INSERT INTO {t} (key, value) SELECT * FROM unnest($1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            ),
            delete_many: format!(
                "DELETE FROM {t} WHERE key IN
                 (SELECT key FROM {t} WHERE key = ANY($1) ORDER BY key FOR UPDATE)"
            ),
            increment: format!(
                "INSERT INTO {t} AS t (key, value) VALUES ($1, {})
                 ON CONFLICT (key) DO UPDATE SET value = {sum} WHERE octet_length(t.value) = 8
                 RETURNING value",
                bytes_of("$2")
            ),
            swap: format!("UPDATE {t} SET value = $2 WHERE key = $1 AND value = $3 RETURNING 1"),
            add: format!(
                "INSERT INTO {t} (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING 1"
            ),
            table: t,
        })
    }
}

/// The number that eight bytes stand for, the lowest first.
fn number_of(bytes: &str) -> String {
    let byte = |n: usize| format!("(get_byte({bytes}, {n})::int8 << {})", 8 * n);
    let all: Vec<String> = (0..8).map(byte).collect();
    format!("({})", all.join(" | "))
}

/// The eight bytes of a number, the lowest first.
fn bytes_of(number: &str) -> String {
    let empty = "'\\x0000000000000000'::bytea".to_owned();
    (0..8).fold(empty, |bytes, n| {
        format!(
            "set_byte({bytes}, {n}, ((({number}) >> {}) & 255)::int4)",
            8 * n
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_part_by_part() {
        let table = |parts: &[&str]| Statements::new(parts).unwrap().table;
        assert_eq!(table(&["plain"]), "\"plain\"");
        assert_eq!(table(&["with.dot"]), "\"with.dot\"");
        assert_eq!(
            table(&["one", "t\"; DROP TABLE x; --"]),
            "\"one\".\"t\"\"; DROP TABLE x; --\""
        );
    }

    #[test]
    fn a_name_that_would_be_cut_off_is_refused() {
        assert!(Statements::new(&[&"a".repeat(63)]).is_ok());
        let refused = Statements::new(&["schema", &"a".repeat(64)]).err().unwrap();
        assert!(refused.contains("at most 63 bytes"), "{refused}");
    }
}
