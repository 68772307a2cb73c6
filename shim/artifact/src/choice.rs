//! Which manifest of an index is meant: one rule, on a laptop and in a pod.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::blobs::read_whole;
use crate::oci::media;
use crate::shown::{listed, shown};
use crate::{BlobError, Blobs, Descriptor, Digest, Index, Limits, Platform};

/// What build tools put beside images: signatures and provenance, not to be run.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// The architecture of all images for WebAssembly.
const WASM: &str = "wasm";

/// An index of indexes of indexes has no use.
const MAX_DEPTH: usize = 4;

/// What all indexes within one image may list together. The official images with the
/// most platforms have some forty entries.
const MAX_ENTRIES: usize = 1000;

/// What they may hold together.
const MAX_BYTES: u64 = 2 * Limits::JSON;

/// A platform that somebody asks for, as `--platform` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Platform);

/// Text that is no platform.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a platform: expected `wasip1/wasm`, `linux/amd64`, `linux/arm64/v8` or alike"
)]
pub struct WantedError {
    text: String,
}

impl FromStr for Wanted {
    type Err = WantedError;

    fn from_str(text: &str) -> Result<Self, WantedError> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => (&"", &"", None),
        };
        if os.is_empty() || architecture.is_empty() || variant.as_deref() == Some("") {
            return Err(WantedError { text: shown(text) });
        }
        Ok(Self(Platform {
            architecture: (*architecture).to_owned(),
            os: (*os).to_owned(),
            variant,
        }))
    }
}

impl Wanted {
    /// Whether a platform is the one asked for. Tools do not agree on how an operating
    /// system is written (`Wasip1`), and who names no variant asks for any.
    fn is(&self, platform: &Platform) -> bool {
        let Self(wanted) = self;
        platform.os.eq_ignore_ascii_case(&wanted.os)
            && platform.architecture == wanted.architecture
            && (wanted.variant.is_none() || variant_of(platform) == variant_of(wanted))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.0))
    }
}

/// Why no manifest is the one that is meant.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// An index cannot be read.
    #[error("cannot read an index of images")]
    Blob(#[source] BlobError),
    /// An index is not written as one.
    #[error("the index of images {digest} cannot be understood")]
    Json {
        /// The index.
        digest: Digest,
        /// Where and what.
        source: serde_json::Error,
    },
    /// Indexes within indexes within indexes.
    #[error("the index of images {digest} is nested more than {MAX_DEPTH} deep")]
    Depth {
        /// The innermost that was looked at.
        digest: Digest,
    },
    /// More manifests than one image has.
    #[error(
        "the index of images {digest} goes over what one image may list: {MAX_ENTRIES} manifests in {MAX_BYTES} bytes"
    )]
    Size {
        /// The index that went over.
        digest: Digest,
    },
    /// There is none at all.
    #[error("it has no manifest that can be had")]
    Nothing,
    /// Several, and none for this machine.
    #[error(
        "none of its manifests is for WebAssembly or for {here}: it has {found}; choose one with `--platform`"
    )]
    NoneFits {
        /// What is looked for.
        here: String,
        /// What there is.
        found: String,
    },
    /// None is for the platform asked for.
    #[error("it has no manifest for {wanted}, but {found}")]
    NotThere {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// Several that fit equally well.
    #[error(
        "several of its manifests fit: {found}; choose one with `--platform`, and for pods give each a name of its own"
    )]
    Several {
        /// Those.
        found: String,
    },
}

/// Where manifests are looked for, and which.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Where indexes are read.
    pub blobs: &'a dyn Blobs,
    /// Whether a manifest or index is there at all: containerd pulls one platform of an
    /// image, and has the index whole.
    pub has: &'a dyn Fn(&Descriptor) -> bool,
    /// The platform that somebody asked for.
    pub wanted: Option<&'a Wanted>,
}

impl Choice<'_> {
    /// The manifest that is meant by one of `images`, which may be indexes.
    ///
    /// Attestations never are. Of several it is the one for the platform asked for; or
    /// else the one for WebAssembly; or else the one for Linux on this machine's
    /// processor, without a variant before one with; or else the only one.
    ///
    /// # Errors
    ///
    /// [`ChoiceError`] where there is none or several, with what there is.
    pub fn manifest(&self, images: &[Descriptor]) -> Result<Descriptor, ChoiceError> {
        self.choose(self.all(images)?)
    }

    /// All manifests of `images` that are there, but for attestations.
    ///
    /// # Errors
    ///
    /// Where an index cannot be read, or is too large.
    pub fn all(&self, images: &[Descriptor]) -> Result<Vec<Descriptor>, ChoiceError> {
        let mut walk = Walk {
            choice: *self,
            found: Vec::new(),
            seen: BTreeSet::new(),
            entries: 0,
            bytes: 0,
        };
        for image in images {
            walk.descriptor(image, 0)?;
        }
        Ok(walk.found)
    }

    fn choose(&self, mut found: Vec<Descriptor>) -> Result<Descriptor, ChoiceError> {
        let names = |found: &[Descriptor]| listed(found.iter().map(described));
        if found.is_empty() {
            return Err(ChoiceError::Nothing);
        }
        if let Some(wanted) = self.wanted {
            let fit = |platform: &Platform| wanted.is(platform);
            let Some(fitting) = those(&found, fit) else {
                return Err(ChoiceError::NotThere {
                    wanted: wanted.to_string(),
                    found: names(&found),
                });
            };
            found = fitting;
        } else if found.len() > 1 {
            let here = here();
            let fitting = those(&found, |platform| platform.architecture == WASM)
                .or_else(|| those(&found, |platform| here.is(platform)));
            match fitting {
                Some(fitting) => found = fitting,
                // Nothing to choose by, as in a folder of several images.
                None if found.iter().all(|one| one.platform.is_none()) => {}
                None => {
                    return Err(ChoiceError::NoneFits {
                        here: here.to_string(),
                        found: names(&found),
                    });
                }
            }
        }
        if found.len() > 1
            && let Some(plain) = those(&found, |platform| variant_of(platform).is_none())
        {
            found = plain;
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            several => Err(ChoiceError::Several {
                found: names(several),
            }),
        }
    }
}

/// The way through all indexes of an image.
struct Walk<'a> {
    choice: Choice<'a>,
    found: Vec<Descriptor>,
    /// What is listed twice is one thing.
    seen: BTreeSet<Digest>,
    entries: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn descriptor(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), ChoiceError> {
        let digest = descriptor.digest;
        if is_attestation(descriptor)
            || !self.seen.insert(digest)
            // What an image itself is has been pulled: of all else there may be a part.
            || depth > 0 && !(self.choice.has)(descriptor)
        {
            return Ok(());
        }
        if !descriptor.is_index() {
            self.found.push(descriptor.clone());
            return Ok(());
        }
        if depth == MAX_DEPTH {
            return Err(ChoiceError::Depth { digest });
        }
        self.bytes = self.bytes.saturating_add(descriptor.size);
        if self.bytes > MAX_BYTES {
            return Err(ChoiceError::Size { digest });
        }
        let bytes = read_whole(self.choice.blobs, descriptor, Limits::JSON, "an index")
            .map_err(ChoiceError::Blob)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| ChoiceError::Json { digest, source })?;
        self.entries += index.manifests.len();
        if self.entries > MAX_ENTRIES {
            return Err(ChoiceError::Size { digest });
        }
        for inner in &index.manifests {
            self.descriptor(inner, depth + 1)?;
        }
        Ok(())
    }
}

impl Descriptor {
    /// Whether it is of a list of manifests.
    pub fn is_index(&self) -> bool {
        [media::INDEX, media::DOCKER_INDEX].contains(&self.media_type.as_str())
    }
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    let unknown = |platform: &Platform| {
        [&platform.os, &platform.architecture]
            .iter()
            .all(|word| *word == "unknown")
    };
    descriptor.annotations.contains_key(ATTESTATION)
        || descriptor.platform.as_ref().is_some_and(unknown)
}

/// Those of a platform; `None` where there is none.
fn those(found: &[Descriptor], fit: impl Fn(&Platform) -> bool) -> Option<Vec<Descriptor>> {
    let fitting = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(&fit);
    let fitting: Vec<_> = found.iter().filter(fitting).cloned().collect();
    (!fitting.is_empty()).then_some(fitting)
}

/// Linux on this machine's processor, as images call it.
fn here() -> Wanted {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Wanted(Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
    })
}

/// The variant of a processor, where it is more than what every such processor can.
fn variant_of(platform: &Platform) -> Option<&str> {
    let variant = platform.variant.as_deref()?;
    let least = matches!(
        (platform.architecture.as_str(), variant),
        (_, "") | ("amd64", "v1") | ("arm64", "v8" | "8")
    );
    (!least).then_some(variant)
}

fn name(platform: &Platform) -> String {
    let variant = platform.variant.iter().filter(|text| !text.is_empty());
    let words = [&platform.os, &platform.architecture];
    let words: Vec<_> = words.into_iter().chain(variant).map(|w| shown(w)).collect();
    words.join("/")
}

fn described(descriptor: &Descriptor) -> String {
    let named = descriptor
        .image_name()
        .map(|name| format!("`{}`", shown(name)));
    let platform = descriptor.platform.as_ref().map(name);
    match (named, platform) {
        (Some(named), Some(platform)) => format!("{named} for {platform}"),
        (Some(named), None) => named,
        (None, Some(platform)) => format!("{} for {platform}", descriptor.digest),
        (None, None) => descriptor.digest.to_string(),
    }
}
