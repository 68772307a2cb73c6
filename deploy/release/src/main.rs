//! `release image` and `release archive` write the installer's image and a node's archive
//! from existing binaries, `release dist` compiles for every platform and collects all
//! files of a release.

mod chart;
mod checkout;
mod compile;
mod dist;
mod sbom;
mod trial;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use skiff_release::{InstallerImage, Platform};

use crate::checkout::Checkout;

/// Makes the files of a release.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the installer's image as an OCI layout
    Image(ImageOptions),
    /// Packs the archive to unpack into a folder of programs
    Archive(ArchiveOptions),
    /// Compiles for every platform and collects binaries, image, chart, bills of
    /// materials and checksums
    Dist(dist::Options),
}

#[derive(clap::Args)]
struct ImageOptions {
    /// The folder with `skiff` and `skiff-installer` for a platform, as linux/amd64=DIR;
    /// may be repeated; DIR alone is for this machine's platform
    #[arg(long = "platform", value_name = "[PLATFORM=]DIR", required = true, value_parser = binaries)]
    platforms: Vec<(Platform, PathBuf)>,
    /// The version of the image
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// The date of all files in the image, in seconds since 1970
    #[arg(long, default_value_t = 0)]
    date: u64,
    /// The folder of the layout, which replaces an older one
    #[arg(long)]
    out: PathBuf,
}

#[derive(clap::Args)]
struct ArchiveOptions {
    /// The folder with `skiff` and `skiff-installer`
    binaries: PathBuf,
    /// The file of the archive, which replaces an older one
    #[arg(long)]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Image(options) => image(options),
        Command::Archive(options) => {
            dist::archive(&Checkout::find()?, &options.binaries, &options.out)
        }
        Command::Dist(options) => dist::make(&options),
    }
}

fn image(options: ImageOptions) -> anyhow::Result<()> {
    let image = InstallerImage {
        version: options.version,
        revision: None,
        date: options.date,
        platforms: options.platforms,
    };
    let index = image.write(&options.out)?;
    println!("{}@{}", image.reference(), index.digest);
    Ok(())
}

/// Reads `linux/amd64=DIR` or `DIR`.
fn binaries(text: &str) -> Result<(Platform, PathBuf), String> {
    match text.split_once('=') {
        Some((platform, folder)) => {
            let platform = platform.parse().map_err(|error| format!("{error}"))?;
            Ok((platform, PathBuf::from(folder)))
        }
        None => {
            let here = Platform::here().ok_or("this machine's platform has no releases")?;
            Ok((here, PathBuf::from(text)))
        }
    }
}
