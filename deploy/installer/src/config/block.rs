//! The block that is ours: making it, and finding it again.

use std::ops::Range;

use super::{Family, Handler};
use crate::{HANDLER, RUNTIME};

const BEGIN: &str =
    "# Begin of what skiff-installer added. `skiff-installer uninstall` takes it away.";
const END: &str = "# End of what skiff-installer added.";

/// What is added at the end of a file. It begins with the end of a line, which keeps its distance from a
/// last line that has one and ends a last line that has none.
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

/// A configuration with nothing but the handler, for a containerd without one. Its
/// version is not in the block: it is that of whatever others add to it, too.
pub fn fresh(family: Family, handler: &Handler) -> String {
    format!("{}{}", version_line(family), block(family, handler, false))
}

/// Whether a file from which our block was taken is as [`fresh`] began it.
pub fn was_fresh(bare: &str) -> bool {
    [Family::Two, Family::Three]
        .map(version_line)
        .contains(&bare.to_owned())
}

fn version_line(family: Family) -> String {
    format!("version = {}\n", family.version())
}

/// A drop-in file with nothing but the handler.
pub fn drop_in(family: Family, handler: &Handler) -> String {
    block(family, handler, true).trim_start().to_owned()
}

/// A table with what is in it, and an empty line behind each.
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

/// Where our block is, with the line ends around it that are part of it.
fn place_of_block(text: &str) -> Option<Range<usize>> {
    let begin = text.find(BEGIN)?;
    let end = begin + text[begin..].find(END)? + END.len();
    let begin = begin - usize::from(text[..begin].ends_with('\n'));
    let end = end + usize::from(text[end..].starts_with('\n'));
    Some(begin..end)
}

/// Our block of a text; `None` where it has none.
pub fn block_in(text: &str) -> Option<&str> {
    text.get(place_of_block(text)?)
}

/// The text without our block, byte for byte as it was before; `None` where it has
/// none.
pub fn without_block(text: &str) -> Option<String> {
    let mut bare = text.to_owned();
    bare.replace_range(place_of_block(text)?, "");
    Some(bare)
}

/// The text with another block in the place of ours; `None` where it has none.
/// What other people have put behind it stays there.
pub fn with_block(text: &str, block: &str) -> Option<String> {
    let place = place_of_block(text)?;
    // At the very beginning there is no line to end.
    let block = match text[place.clone()].starts_with('\n') {
        true => block,
        false => block.trim_start_matches('\n'),
    };
    let mut text = text.to_owned();
    text.replace_range(place, block);
    Some(text)
}
