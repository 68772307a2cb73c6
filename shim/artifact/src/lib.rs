//! Artifacts: what an application looks like on its way from a registry to a node.
//!
//! # Reading
//!
//! [`Blobs`] is where bytes are: containerd's content store, or a [`Layout`]. From a
//! manifest in it comes an [`Image`], which knows its [`Kind`]. [`unpack`] puts the
//! image into a directory, and [`Prepared`] is the application in such a directory (or
//! in a folder, or in a container's root file system), ready to be compiled.
//!
//! Every blob is checked against its digest and size while it is read ([`Verified`]).
//! Whatever arrives is taken for hostile: paths, links, sizes and kinds of entries are
//! checked before anything is written, and [`Limits`] bound how much is.
//!
//! # Writing
//!
//! [`pack::to_layout`] makes the artifact that `spin registry push` would push, as an
//! OCI layout folder. What to send to a registry is all in that folder; the client
//! that does it belongs beside [`layout`].
//!
//! This crate knows no containerd, no environment and no engine, and does not wait:
//! it reads and writes as it is called.

mod apps;
mod beneath;
mod blobs;
mod choice;
mod compression;
mod digest;
mod image;
pub mod layout;
mod limits;
mod meter;
mod oci;
mod open;
pub mod pack;
mod paths;
mod prepared;
mod scratch;
mod shown;
mod unpack;

pub use apps::{Apps, AppsError, Held, Tidied};
pub use blobs::{BlobError, Blobs, Verified, read_whole};
pub use choice::{Choice, ChoiceError, Wanted, WantedError};
pub use digest::{Digest, DigestError, Hasher};
pub use image::{Image, ImageError, Kind};
pub use layout::{Layout, LayoutError};
pub use limits::Limits;
pub use meter::LimitError;
pub use oci::{Descriptor, Index, Manifest, Platform, media};
pub use open::reopen_file;
pub use paths::PathError;
pub use prepared::files::FilesError;
pub use prepared::{
    BuildError, Mistakes, Mount, PrepareError, Prepared, PreparedComponent, PreparedDependency,
};
pub use scratch::{Scratch, sweep};
pub use unpack::{UnpackError, Unpacked, unpack};
