//! What the README says about settings is what the program knows.

use std::path::Path;

#[test]
fn the_readme_has_the_table_of_settings() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = text.split_once("<!-- settings -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- /settings -->").unwrap();
    assert_eq!(table.trim(), skiff::settings::markdown_table().trim());
}
