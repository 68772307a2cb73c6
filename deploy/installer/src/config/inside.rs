//! Handlers in tables that cannot be continued at the end of a file, as they are written
//! inline or as dotted keys.

use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{ConfigError, Family, Handler, line_of};
use crate::{HANDLER, RUNTIME};

/// Adds the handler beside the others, written as they are.
pub(super) fn insert(
    text: &str,
    path: &Path,
    family: Family,
    handler: &Handler,
) -> Result<String, ConfigError> {
    let mut document = parse(text, path)?;
    let mut item = document.as_item_mut();
    let mut dotted = false;
    let mut inline = false;
    for key in keys(family) {
        let table = item
            .as_table_like_mut()
            .ok_or_else(|| no_table(path, key))?;
        dotted |= table.is_dotted();
        if !table.contains_key(key) {
            table.insert(key, new_table(dotted, inline));
        }
        item = table.get_mut(key).ok_or_else(|| no_table(path, key))?;
        inline |= item.is_inline_table();
    }
    let runtimes = item
        .as_table_like_mut()
        .ok_or_else(|| no_table(path, "runtimes"))?;
    dotted |= runtimes.is_dotted();
    runtimes.insert(HANDLER, written(handler, dotted, inline));
    Ok(document.to_string())
}

/// Removes the handler again.
pub(super) fn remove(text: &str, path: &Path) -> Result<String, ConfigError> {
    let mut document = parse(text, path)?;
    for family in [Family::Two, Family::Three] {
        let runtimes = keys(family)
            .iter()
            .try_fold(document.as_item_mut(), |item, key| {
                item.as_table_like_mut()?.get_mut(key)
            });
        if let Some(table) = runtimes.and_then(Item::as_table_like_mut) {
            table.remove(HANDLER);
        }
    }
    Ok(document.to_string())
}

fn keys(family: Family) -> [&'static str; 4] {
    ["plugins", family.plugin(), "containerd", "runtimes"]
}

fn parse(text: &str, path: &Path) -> Result<DocumentMut, ConfigError> {
    text.parse::<DocumentMut>()
        .map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            line: line_of(text, source.span().map_or(0, |span| span.start)),
            source: Box::new(source),
        })
}

fn no_table(path: &Path, key: &str) -> ConfigError {
    ConfigError::NoTable {
        path: path.to_owned(),
        key: key.to_owned(),
    }
}

fn new_table(dotted: bool, inline: bool) -> Item {
    if inline {
        return Item::Value(Value::InlineTable(InlineTable::new()));
    }
    let mut table = Table::new();
    table.set_implicit(true);
    table.set_dotted(dotted);
    Item::Table(table)
}

fn written(handler: &Handler, dotted: bool, inline: bool) -> Item {
    let mut item = new_table(dotted, inline);
    let Some(table) = item.as_table_like_mut() else {
        return item;
    };
    put(table, "runtime_type", RUNTIME.into());
    if let Some(path) = &handler.path {
        put(
            table,
            "runtime_path",
            path.to_string_lossy().as_ref().into(),
        );
    }
    if let Some(spec) = &handler.base_spec {
        put(table, "base_runtime_spec", spec.as_str().into());
    }
    if handler.systemd_cgroup {
        let mut options = new_table(dotted, inline);
        if let Some(options) = options.as_table_like_mut() {
            put(options, "SystemdCgroup", true.into());
        }
        table.insert("options", options);
    }
    item
}

fn put(table: &mut dyn TableLike, key: &str, value: Value) {
    table.insert(key, Item::Value(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/containerd/config.toml";

    fn there_and_back(text: &str) -> String {
        let handler = Handler {
            systemd_cgroup: true,
            ..Handler::default()
        };
        let path = Path::new(FILE);
        let with = super::super::with_handler(text, path, Family::Two, &handler).expect("room");
        let values: toml::Table = toml::from_str(&with).unwrap_or_else(|error| {
            panic!("{error}\n{with}");
        });
        let runtimes = &values["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"];
        assert_eq!(
            runtimes[HANDLER]["runtime_type"].as_str(),
            Some(RUNTIME),
            "{with}"
        );
        assert_eq!(
            runtimes[HANDLER]["options"]["SystemdCgroup"].as_bool(),
            Some(true),
            "{with}"
        );
        assert!(runtimes.get("runc").is_some(), "{with}");
        match super::super::without_block(&with) {
            Some(without) => without,
            None => remove(&with, path).expect("TOML"),
        }
    }

    #[test]
    fn inline_tables_take_it_and_give_it_back() {
        let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd] # here\nruntimes = { runc = { runtime_type = \"io.containerd.runc.v2\" } } # all\n\n# end\n";
        assert_eq!(there_and_back(text), text);
    }

    #[test]
    fn dotted_keys_take_it_and_give_it_back() {
        let text = "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.runtime_type = \"io.containerd.runc.v2\" # one\nplugins.\"io.containerd.grpc.v1.cri\".sandbox_image = \"x\"\n\n[grpc]\n";
        assert_eq!(there_and_back(text), text);
    }

    #[test]
    fn what_is_no_table_is_told() {
        let text = "version = 2\nplugins = 1\n";
        let error = insert(text, Path::new(FILE), Family::Two, &Handler::default());
        let error = error.expect_err("no table").to_string();
        assert!(
            error.contains("`plugins` is not a table") || error.contains("is not a table"),
            "{error}"
        );
    }
}
