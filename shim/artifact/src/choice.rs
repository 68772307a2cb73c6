//! Which manifest of an index is used: one rule for laptops and pods.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::blobs::read_whole;
use crate::oci::media;
use crate::shown::{listed, shown};
use crate::{BlobError, Blobs, Descriptor, Digest, Index, Limits, Platform};

/// Signatures and provenance that build tools put beside images; they are not run.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// The architecture of all WebAssembly images.
const WASM: &str = "wasm";

/// Deeper nesting of indexes has no use.
const MAX_DEPTH: usize = 4;

/// How many manifests all indexes within one image may list. The official images with the
/// most platforms have some forty entries.
const MAX_ENTRIES: usize = 1000;

/// How many bytes they may have together.
const MAX_BYTES: u64 = 2 * Limits::JSON;

/// A requested platform, as `--platform` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Platform);

/// Text that is not a platform.
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
    /// Whether a platform is the requested one. Tools write operating systems differently
    /// (`Wasip1`), and a request without a variant accepts any.
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

/// Why no manifest can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// An index cannot be read.
    #[error("cannot read an index of images")]
    Blob(#[source] BlobError),
    /// An index does not parse.
    #[error("the index of images {digest} cannot be understood")]
    Json {
        /// The index.
        digest: Digest,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// Indexes nested too deeply.
    #[error("the index of images {digest} is nested more than {MAX_DEPTH} deep")]
    Depth {
        /// The innermost index that was read.
        digest: Digest,
    },
    /// More manifests than one image may have.
    #[error(
        "the index of images {digest} goes over what one image may list: {MAX_ENTRIES} manifests in {MAX_BYTES} bytes"
    )]
    Size {
        /// The index that exceeded the limit.
        digest: Digest,
    },
    /// There are no manifests.
    #[error("none of its manifests is available")]
    Nothing,
    /// Several manifests, none of them for this machine.
    #[error(
        "none of its manifests is for WebAssembly or for {here}: it has {found}; choose one with `--platform`"
    )]
    NoneFits {
        /// The platform that is looked for.
        here: String,
        /// The platforms that exist.
        found: String,
    },
    /// No manifest is for the requested platform.
    #[error("it has no manifest for {wanted}, but {found}")]
    NotThere {
        /// The requested platform.
        wanted: String,
        /// The platforms that exist.
        found: String,
    },
    /// Several manifests fit equally well.
    #[error(
        "several of its manifests fit: {found}; choose one with `--platform`, and for pods give each a name of its own"
    )]
    Several {
        /// The manifests that fit.
        found: String,
    },
}

/// Where manifests are looked for, and which one.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Where indexes are read from.
    pub blobs: &'a dyn Blobs,
    /// Whether a manifest or index is present at all: containerd pulls one platform of an
    /// image but stores the whole index.
    pub has: &'a dyn Fn(&Descriptor) -> bool,
    /// The requested platform.
    pub wanted: Option<&'a Wanted>,
}

impl Choice<'_> {
    /// Chooses one manifest from `images`, which may be indexes.
    ///
    /// Attestations are never chosen. The order is: the requested platform; else
    /// WebAssembly; else Linux on this machine's processor, preferring entries without a
    /// variant; else the only manifest.
    ///
    /// # Errors
    ///
    /// [`ChoiceError`] if there is none or more than one, listing what exists.
    pub fn manifest(&self, images: &[Descriptor]) -> Result<Descriptor, ChoiceError> {
        self.choose(self.all(images)?)
    }

    /// All manifests of `images` that are present, except attestations.
    ///
    /// # Errors
    ///
    /// Where an index cannot be read or is too large.
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
                // Nothing to choose by, as in a folder with several images.
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

/// Walks all indexes of an image.
struct Walk<'a> {
    choice: Choice<'a>,
    found: Vec<Descriptor>,
    /// A manifest that is listed twice counts once.
    seen: BTreeSet<Digest>,
    entries: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn descriptor(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), ChoiceError> {
        let digest = descriptor.digest;
        if is_attestation(descriptor)
            || !self.seen.insert(digest)
            // The image itself has been pulled; of everything else only parts may be
            // present.
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
    /// Whether it describes a list of manifests.
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

/// The manifests for a platform; `None` where there are none.
fn those(found: &[Descriptor], fit: impl Fn(&Platform) -> bool) -> Option<Vec<Descriptor>> {
    let fitting = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(&fit);
    let fitting: Vec<_> = found.iter().filter(fitting).cloned().collect();
    (!fitting.is_empty()).then_some(fitting)
}

/// Linux on this machine's processor, as images name it.
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

/// The processor's variant, if it is more than the baseline of its architecture.
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
