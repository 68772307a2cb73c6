//! Everything a release ships, in one folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use skiff_artifact::Digest;
use skiff_release::{Archive, InstallerImage, Platform, gzip};
use skiff_test_support::paths;

use crate::chart;
use crate::checkout::Checkout;
use crate::compile::Compiler;
use crate::sbom::Bills;
use crate::trial;

/// The packages of the shipped programs, and the programs.
const PROGRAMS: [(&str, &str); 2] = [
    ("containerd-shim-skiff", "skiff"),
    ("skiff-installer", "skiff-installer"),
];

/// The options of a release.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A platform, such as linux/amd64; may be repeated; all platforms by default
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<Platform>,
    /// The output folder, which is replaced; by default `dist` in the target folder
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Makes it.
pub(crate) fn make(options: &Options) -> anyhow::Result<()> {
    let checkout = Checkout::find()?;
    let target = paths::target_dir();
    let version = env!("CARGO_PKG_VERSION");
    let platforms = match options.platforms.as_slice() {
        [] => Platform::ALL.to_vec(),
        named => named.to_vec(),
    };
    let out = options.out.clone().unwrap_or_else(|| target.join("dist"));
    let files = target.join("installer");
    for folder in [&out, &files] {
        fs::remove_dir_all(folder).ok();
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
    }

    let mut image = InstallerImage {
        version: version.to_owned(),
        revision: Some(checkout.revision.clone()),
        date: checkout.date,
        platforms: Vec::new(),
    };
    let compiler = Compiler::set_up(&checkout, &target)?;
    let bills = Bills::set_up(&checkout, &target)?;
    for (package, _) in PROGRAMS {
        compiler.compile(package, &platforms)?;
    }
    for platform in platforms {
        let binaries = files.join(platform.architecture());
        binaries_of(&compiler, platform, &binaries)?;
        // The folder where the image's Dockerfile expects them.
        image.write_hello(&binaries.join("hello"))?;
        write(&binaries.join("version"), format!("{version}\n").as_bytes())?;
        trial::run(&checkout, platform, &binaries)?;
        let name = format!("skiff-{}.tar.gz", suffix(version, platform));
        archive(&checkout, &binaries, &out.join(name))?;
        let packages = PROGRAMS.map(|(package, _)| package);
        for (bill, (_, program)) in bills.of(platform, &packages)?.iter().zip(PROGRAMS) {
            let name = format!("{program}-{}.cdx.json", suffix(version, platform));
            write(&out.join(name), bill.as_bytes())?;
        }
        image.platforms.push((platform, binaries));
    }

    let layout = target.join("images/installer");
    let index = image.write(&layout)?;
    println!("{}@{}", image.reference(), index.digest);
    let packed = Archive::of(checkout.date).folder("", &layout)?;
    packed.write(create(
        &out.join(format!("skiff-installer-image-{version}.tar")),
    )?)?;
    chart::package(&checkout, version, &index.digest, &out)?;
    sums(&out)
}

/// Collects the compiled programs of a platform in one folder.
fn binaries_of(compiler: &Compiler<'_>, platform: Platform, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    for (_, program) in PROGRAMS {
        let made = compiler.program(platform, program);
        fs::copy(&made, to.join(program))
            .with_context(|| format!("cannot copy `{}`", made.display()))?;
    }
    Ok(())
}

/// The archive for a folder of programs: the shim under both names, and the installer.
pub(crate) fn archive(checkout: &Checkout, binaries: &Path, out: &Path) -> anyhow::Result<()> {
    let packed = Archive::of(checkout.date)
        .copy("skiff", 0o755, &binaries.join("skiff"))
        .link("containerd-shim-skiff-v1", "skiff")
        .copy("skiff-installer", 0o755, &binaries.join("skiff-installer"))
        .copy("LICENSE", 0o644, &checkout.root.join("LICENSE"));
    packed.write(gzip(create(out)?))?.finish()?;
    Ok(())
}

/// Writes the checksums of every file in the folder, for `sha256sum --check`.
fn sums(out: &Path) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out).with_context(|| format!("cannot read `{}`", out.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let digest = Digest::of_file(&out.join(&name))
            .with_context(|| format!("cannot read `{name}` again"))?;
        println!("{} {name}", digest.hex());
        text.push_str(&format!("{}  {name}\n", digest.hex()));
    }
    write(&out.join("SHA256SUMS"), text.as_bytes())
}

fn suffix(version: &str, platform: Platform) -> String {
    format!("{version}-linux-{}", platform.architecture())
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write `{}`", path.display()))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))
}
