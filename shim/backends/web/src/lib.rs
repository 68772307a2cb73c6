//! What Skiff itself asks of servers over HTTP, in small numbers: variables of HashiCorp
//! Vault and Azure Key Vault, and components that a manifest names by URL.
//!
//! A [`Client`] keeps no connection and no thread, so it may be made and used before a
//! process forks. Requests of guests have nothing to do with it.

mod azure;
mod client;
mod download;
mod vault;

pub use azure::{AzureError, AzureSecrets, Identity};
pub use client::{Client, ClientError};
pub use download::{DownloadError, Downloads};
pub use vault::VaultSecrets;
