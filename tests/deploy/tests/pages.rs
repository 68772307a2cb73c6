//! Paths in pages and comments exist, and commands fit the chart.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use serde_json::Value;
use skiff_deploy_tests::files;

const CHART: &str = "oci://ghcr.io/skiff-dev/charts/skiff";

/// The checked pages.
fn pages() -> Vec<files::Name> {
    let mut pages = files::find("deploy/*.md");
    for folder in ["clusters", "nomad", "spinkube", "systemd"] {
        pages.extend(files::find(&format!("deploy/{folder}/*.md")));
    }
    assert!(pages.len() > 10, "only {pages:?}");
    pages
}

/// Files that refer readers to paths of `deploy/`.
fn readers() -> Vec<files::Name> {
    let mut all = pages();
    for pattern in [
        "README.md",
        "ARCHITECTURE.md",
        "images/*/README.md",
        "charts/skiff/*.*",
        "charts/skiff/templates/*.*",
        "deploy/installer/src/**/*.rs",
        "deploy/talos/*",
        "deploy/**/*.yaml",
        "deploy/**/*.hcl",
        "deploy/**/*.tf",
    ] {
        all.extend(files::find(pattern));
    }
    all
}

#[test]
fn links_lead_to_files_and_headings() {
    for page in pages() {
        let text = files::read(&page);
        let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
        for event in Parser::new(&text) {
            let Event::Start(Tag::Link { dest_url, .. }) = event else {
                continue;
            };
            if dest_url.starts_with("https://") {
                continue;
            }
            let (file, heading) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            let target = format!("{folder}/{file}");
            assert!(files::path(&target).exists(), "{page}: {dest_url}");
            if !heading.is_empty() {
                let known = headings(&files::read(&target));
                assert!(known.iter().any(|one| one == heading), "{page}: {dest_url}");
            }
        }
    }
}

/// Anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let words = heading.take().unwrap_or_default().to_lowercase();
                let kept = words
                    .chars()
                    .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                anchors.push(kept.collect::<String>().replace(' ', "-"));
            }
            _ => {}
        }
    }
    anchors
}

#[test]
fn paths_that_are_named_are_there() {
    for reader in readers() {
        let text = files::read(&reader);
        let words = text.split(|c: char| c.is_whitespace() || "`'\"(),;:".contains(c));
        for word in words {
            let word = word.trim_end_matches(['.', '/']);
            // Paths inside addresses are not checked.
            let ours = word.starts_with("deploy/") || word == "deploy";
            let place = word.contains(['*', '<', '{', '$']);
            if ours && !place {
                assert!(files::path(word).exists(), "{reader} names `{word}`");
            }
        }
    }
}

/// The commands of a page: its indented lines, with continuation lines joined.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("    "));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(|line| line.trim().to_owned()).collect()
}

/// The commands in the fenced blocks of the README and of `docs/`.
fn fenced() -> Vec<(files::Name, String)> {
    let mut found = Vec::new();
    for page in files::find("README.md")
        .into_iter()
        .chain(files::find("docs/*.md"))
    {
        let text = files::read(&page).replace("\\\n", " ");
        for block in text.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let lines = block
                .lines()
                .map(|line| (page.clone(), line.trim().to_owned()));
            found.extend(lines);
        }
    }
    found
}

#[test]
fn files_that_are_applied_are_objects_of_kubernetes() {
    let mut seen = 0;
    for (page, command) in fenced() {
        let Some(file) = command.strip_prefix("kubectl apply -f ") else {
            assert!(!command.starts_with("kubectl apply"), "{page}: {command}");
            continue;
        };
        seen += 1;
        assert!(
            !skiff_deploy_tests::objects::of_file(file).is_empty(),
            "{page}: {command}"
        );
    }
    assert!(seen > 0, "the README applies nothing");
}

#[test]
fn yaml_of_the_readme_is_what_kubernetes_takes() {
    let mut seen = 0;
    for page in files::find("README.md")
        .into_iter()
        .chain(files::find("docs/*.md"))
    {
        let text = files::read(&page);
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let objects = skiff_deploy_tests::objects::parse(block);
            assert!(objects.is_ok(), "{page}: {block}: {objects:?}");
            seen += 1;
        }
    }
    assert!(seen > 0, "the README shows no pod");
}

#[test]
fn helm_is_called_as_the_chart_expects() {
    let mut seen = 0;
    let of_pages = pages().into_iter().flat_map(|page| {
        let text = files::read(&page);
        commands(&text)
            .into_iter()
            .map(move |command| (page.clone(), command))
    });
    for (page, command) in of_pages.chain(fenced()) {
        if !command.starts_with("helm ") {
            continue;
        }
        seen += 1;
        assert!(
            command.contains("--namespace skiff-system"),
            "{page}: {command}"
        );
        assert!(
            command.split_whitespace().any(|word| word == "skiff"),
            "{page}: {command}"
        );
        let charted = command.contains(CHART);
        if command.starts_with("helm install") {
            assert!(
                charted && command.contains("--create-namespace"),
                "{page}: {command}"
            );
        }
    }
    assert!(seen > 8, "only {seen} commands");
}

#[test]
fn values_that_pages_set_are_values_of_the_chart() {
    let values: Value = serde_saphyr::from_str(&files::read("charts/skiff/values.yaml"))
        .expect("the chart's values are YAML");
    let mut seen = 0;
    for page in pages() {
        let text = files::read(&page).replace("\\\n", " ");
        for (at, _) in text.match_indices("--set") {
            let rest = text[at..]
                .trim_start_matches("--set-string")
                .trim_start_matches("--set");
            let given = rest.trim_start().trim_start_matches('\'');
            for pair in given
                .split(['\'', '`', '\n', ' '])
                .next()
                .unwrap_or_default()
                .split(',')
            {
                let Some((key, _)) = pair.split_once('=') else {
                    continue;
                };
                // The chart does not define what is below a list or a map of free keys.
                let key = key.split(['[', '\\']).next().unwrap_or_default();
                let mut at = Some(&values);
                for part in key.split('.') {
                    at = match at {
                        Some(Value::Object(fields)) if fields.contains_key(part) => {
                            fields.get(part)
                        }
                        // A free key, which only `nodeSelector` has.
                        Some(Value::Object(_)) if key.starts_with("nodeSelector.") => None,
                        _ => panic!("{page} sets `{key}`, which the chart does not have"),
                    };
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "only {seen} values");
}

#[test]
fn each_page_tells_what_success_looks_like_and_what_to_do_without_it() {
    for page in pages() {
        if page == "deploy/README.md" {
            continue;
        }
        let text = files::read(&page);
        let first = text.lines().skip(1).find(|line| !line.is_empty());
        let command = first.is_some_and(|line| line.starts_with("    "));
        // On these pages the reader has to choose first.
        assert!(
            command || page.contains("spinkube"),
            "{page} does not begin with a command"
        );
        for heading in ["it-worked", "when-it-isnt"] {
            assert!(
                headings(&text).iter().any(|one| one == heading),
                "{page}: {heading}"
            );
        }
    }
}

#[test]
fn the_table_of_contents_names_every_page() {
    let contents = files::read("deploy/README.md");
    for page in pages() {
        let inside = page.trim_start_matches("deploy/");
        let named = contents.contains(&format!("({inside})"));
        assert!(named || inside == "README.md", "{page}");
    }
    for file in files::find("deploy/workloads/*.yaml") {
        let inside = file.trim_start_matches("deploy/");
        let named = contents.contains(&format!("({inside})"));
        assert!(named || inside.ends_with("/kustomization.yaml"), "{file}");
    }
}

/// Code spans in a last table column `test`, with their pages.
fn named_tests() -> Vec<(files::Name, String)> {
    let mut named = Vec::new();
    let mut pages = files::find("docs/*.md");
    pages.push("ARCHITECTURE.md".to_owned());
    for page in pages {
        let mut within = false;
        for line in files::read(&page).lines() {
            let Some(row) = line.strip_prefix('|') else {
                within = false;
                continue;
            };
            let last = row.trim_end_matches('|').rsplit('|').next();
            let last = last.unwrap_or_default().trim();
            within |= last == "test";
            if within {
                let spans = last.split('`').skip(1).step_by(2);
                named.extend(spans.map(|span| (page.clone(), span.to_owned())));
            }
        }
    }
    named
}

#[test]
fn tests_that_pages_name_are_there() {
    let sources: Vec<String> = [
        "shim/**/*.rs",
        "deploy/**/*.rs",
        "tests/*/src/**/*.rs",
        "tests/*/tests/**/*.rs",
    ]
    .iter()
    .flat_map(|pattern| files::find(pattern))
    .map(|name| files::read(&name))
    .collect();
    let named = named_tests();
    assert!(named.len() > 10, "only {named:?}");
    for (page, test) in named {
        let function = test.rsplit("::").next().unwrap_or(&test);
        // A function, a name from which a macro makes one, or one of a table of cases.
        let forms = [
            format!("fn {function}("),
            format!("{function}: "),
            format!("\"{function}\""),
        ];
        let is_there = |source: &String| forms.iter().any(|form| source.contains(form));
        assert!(sources.iter().any(is_there), "{page} names {test}");
    }
}
