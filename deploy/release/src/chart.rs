//! The chart, packed by Helm and then repacked: Helm's archives contain the date.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use skiff_artifact::Digest;
use skiff_release::{Archive, gzip};
use skiff_test_support::tools;

use crate::checkout::{Checkout, output};

/// The first such line in the chart's values belongs to the installer's image.
const NO_DIGEST: &str = "\n  digest: \"\"\n";

/// Packs the chart of `version`, which installs exactly the image of this digest.
pub(crate) fn package(
    checkout: &Checkout,
    version: &str,
    image: &Digest,
    out: &Path,
) -> anyhow::Result<PathBuf> {
    let packed = tempfile::tempdir().context("no folder for the chart")?;
    output(
        Command::new(tools::helm()?)
            .arg("package")
            .arg(checkout.root.join("charts/skiff"))
            .args(["--version", version, "--app-version", version])
            .arg("--destination")
            .arg(packed.path()),
    )?;
    let name = format!("skiff-{version}.tgz");
    let chart = read(&packed.path().join(&name), checkout.date, image)?;
    let to = out.join(&name);
    let file = File::create(&to).with_context(|| format!("cannot write `{}`", to.display()))?;
    chart.write(gzip(file))?.finish()?;
    Ok(to)
}

/// Reads Helm's archive, with the image's digest in its values.
fn read(path: &Path, date: u64, image: &Digest) -> anyhow::Result<Archive> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("Helm did not write `{shown}`"))?;
    let mut archive = Archive::of(date);
    let mut named = false;
    for entry in tar::Archive::new(GzDecoder::new(file)).entries()? {
        let mut entry = entry.with_context(|| format!("cannot read `{shown}`"))?;
        let inner = entry.path()?.display().to_string();
        let mut content = String::new();
        entry
            .read_to_string(&mut content)
            .with_context(|| format!("cannot read `{inner}` of `{shown}`"))?;
        if inner == "skiff/values.yaml" {
            named = content.contains(NO_DIGEST);
            content = content.replacen(NO_DIGEST, &format!("\n  digest: {image}\n"), 1);
        }
        archive = archive.bytes(&inner, 0o644, content);
    }
    ensure!(
        named,
        "the chart's values have no empty digest of the installer's image"
    );
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_names_the_image_by_its_digest_and_is_the_same_each_time() {
        let checkout = Checkout::find().unwrap();
        let image = Digest::of(b"an image");
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = folders.each_ref().map(|folder| {
            let packed = package(&checkout, "1.2.3", &image, folder.path()).unwrap();
            assert_eq!(packed, folder.path().join("skiff-1.2.3.tgz"));
            std::fs::read(packed).unwrap()
        });
        assert!(first == second, "two archives of one commit differ");

        let mut archive = tar::Archive::new(GzDecoder::new(first.as_slice()));
        let texts = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        let texts: std::collections::BTreeMap<_, _> = texts.collect();
        let values = &texts["skiff/values.yaml"];
        assert!(values.contains(&format!("\n  digest: {image}\n")));
        assert!(texts["skiff/Chart.yaml"].contains("version: 1.2.3"));
    }
}
