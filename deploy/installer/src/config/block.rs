//! The installer's own block: making it, and finding it again.

use std::ops::Range;

use super::{Family, Handler};
use crate::{HANDLER, RUNTIME};

const BEGIN: &str =
    "# Begin of what skiff-installer added. `skiff-installer uninstall` takes it away.";
const END: &str = "# End of what skiff-installer added.";

/// What is added at the end of a file. It begins with a newline: an empty line before the
/// block, or the end of an unterminated last line.
pub fn block(family: Family, handler: &Handler, with_version: bool) -> String {
    let table = format!("plugins.\"{}\".containerd.runtimes", family.plugin());
    let mut lines = vec![String::new(), BEGIN.to_owned()];
    if with_version {
        lines.push(version_line(family));
    }
    for (name, runtime) in &handler.others {
        lines.extend(table_lines(&format!("{table}.{name}"), runtime));
    }
    lines.push(format!("[{table}.{HANDLER}]"));
    lines.push(format!("runtime_type = \"{RUNTIME}\""));
    if let Some(path) = &handler.path {
        lines.push(format!(
            "runtime_path = {}",
            quoted(&path.to_string_lossy())
        ));
    }
    if let Some(spec) = &handler.base_spec {
        lines.push(format!("base_runtime_spec = {}", quoted(spec)));
    }
    if handler.systemd_cgroup {
        lines.push(String::new());
        lines.push(format!("[{table}.{HANDLER}.options]"));
        lines.push("SystemdCgroup = true".to_owned());
    }
    lines.push(END.to_owned());
    lines.push(String::new());
    lines.join("\n")
}

/// A configuration with only the handler, for a containerd without a configuration. Its
/// version is outside the block, as it also counts for what others add.
pub fn fresh(family: Family, handler: &Handler) -> String {
    format!("{}{}", version_line(family), block(family, handler, false))
}

/// Whether a file without our block is as [`fresh`] began it.
pub fn was_fresh(bare: &str) -> bool {
    [Family::Two, Family::Three]
        .map(version_line)
        .contains(&bare.to_owned())
}

fn version_line(family: Family) -> String {
    format!("version = {}\n", family.version())
}

/// A drop-in file with only the handler.
pub fn drop_in(family: Family, handler: &Handler) -> String {
    block(family, handler, true).trim_start().to_owned()
}

/// A table with its content, followed by an empty line.
fn table_lines(name: &str, value: &toml::Value) -> Vec<String> {
    let table = value.as_table().into_iter().flatten();
    let (inner, plain): (Vec<_>, Vec<_>) = table.partition(|(_, value)| value.is_table());
    let mut lines = vec![format!("[{name}]")];
    lines.extend(plain.iter().map(|(key, value)| format!("{key} = {value}")));
    lines.push(String::new());
    for (key, value) in inner {
        lines.extend(table_lines(&format!("{name}.{key}"), value));
    }
    lines
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// The range of our block, with the newlines around it that belong to it.
fn place_of_block(text: &str) -> Option<Range<usize>> {
    let begin = text.find(BEGIN)?;
    let end = begin + text[begin..].find(END)? + END.len();
    let begin = begin - usize::from(text[..begin].ends_with('\n'));
    let end = end + usize::from(text[end..].starts_with('\n'));
    Some(begin..end)
}

/// Our block of a text, if it has one.
pub fn block_in(text: &str) -> Option<&str> {
    text.get(place_of_block(text)?)
}

/// The text without our block, byte for byte as it was before; `None` if it has no block.
pub fn without_block(text: &str) -> Option<String> {
    let mut bare = text.to_owned();
    bare.replace_range(place_of_block(text)?, "");
    Some(bare)
}

/// The text with our block replaced by another; `None` if it has no block. What others
/// have added after it stays.
pub fn with_block(text: &str, block: &str) -> Option<String> {
    let place = place_of_block(text)?;
    // At the beginning of a file no line has to be ended.
    let block = match text[place.clone()].starts_with('\n') {
        true => block,
        false => block.trim_start_matches('\n'),
    };
    let mut text = text.to_owned();
    text.replace_range(place, block);
    Some(text)
}
