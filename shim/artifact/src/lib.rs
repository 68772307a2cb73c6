//! Artifacts: the form of an application on its way from a registry to a node.
//!
//! # Reading
//!
//! [`Blobs`] is the source of bytes: containerd's content store, or a [`Layout`]. A
//! manifest in it gives an [`Image`] with its [`Kind`]. [`unpack`] writes the image to a
//! directory, and [`Prepared`] is the application in such a directory (or in a folder, or
//! in a container's root file system), ready to be compiled.
//!
//! Every blob is checked against its digest and size while it is read ([`Verified`]). All
//! input is treated as hostile: paths, links, sizes and kinds of entries are checked before
//! anything is written, and [`Limits`] bound how much is.
//!
//! # Writing
//!
//! [`pack::to_layout`] creates the artifact that `spin registry push` would push, as an OCI
//! layout folder. That folder holds everything to send to a registry; a registry client
//! belongs beside [`layout`].
//!
//! This crate does not depend on containerd, the environment or an engine, and is
//! synchronous.

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
    BuildError, Fetch, FetchError, Mistakes, Mount, PrepareError, Prepared, PreparedComponent,
    PreparedDependency,
};
pub use scratch::{Scratch, sweep};
pub use unpack::{UnpackError, Unpacked, unpack};
