//! The platforms of a release.

use std::fmt;
use std::str::FromStr;

/// Linux on one kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// Intel and AMD, 64 bits.
    Amd64,
    /// ARM, 64 bits.
    Arm64,
    /// RISC-V with the extensions that distributions require.
    Riscv64,
}

/// A text that is not a platform.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a platform of a release, which are: linux/amd64, linux/arm64, linux/riscv64"
)]
pub struct UnknownPlatform {
    text: String,
}

impl Platform {
    /// All platforms of releases.
    pub const ALL: [Platform; 3] = [Platform::Amd64, Platform::Arm64, Platform::Riscv64];

    /// The platform of this machine, if it is one of them.
    pub fn here() -> Option<Platform> {
        let mut known = Platform::ALL.into_iter();
        known.find(|platform| platform.processor() == std::env::consts::ARCH)
    }

    /// The processor as images and Kubernetes name it.
    pub fn architecture(self) -> &'static str {
        match self {
            Platform::Amd64 => "amd64",
            Platform::Arm64 => "arm64",
            Platform::Riscv64 => "riscv64",
        }
    }

    /// The target as Rust names it.
    pub fn target(self) -> &'static str {
        match self {
            Platform::Amd64 => "x86_64-unknown-linux-gnu",
            Platform::Arm64 => "aarch64-unknown-linux-gnu",
            Platform::Riscv64 => "riscv64gc-unknown-linux-gnu",
        }
    }

    /// The processor as Rust names it.
    fn processor(self) -> &'static str {
        match self {
            Platform::Amd64 => "x86_64",
            Platform::Arm64 => "aarch64",
            Platform::Riscv64 => "riscv64",
        }
    }

    /// The prefix of GNU's compilers for it.
    pub fn gnu(self) -> &'static str {
        match self {
            Platform::Amd64 => "x86_64-linux-gnu",
            Platform::Arm64 => "aarch64-linux-gnu",
            Platform::Riscv64 => "riscv64-linux-gnu",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut known = Platform::ALL.into_iter();
        known
            .find(|platform| platform.to_string() == text)
            .ok_or_else(|| UnknownPlatform {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_is_read_as_it_is_written() {
        for platform in Platform::ALL {
            assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
        let refused = "linux/s390x".parse::<Platform>().unwrap_err();
        assert!(refused.to_string().contains("`linux/s390x`"), "{refused}");
    }
}
