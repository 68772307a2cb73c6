//! The runtime's options in containerd's configuration, which are sent with the call that
//! creates a container.

use anyhow::{Context, bail};
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::protobuf::{Message, UnknownValueRef};
use containerd_shim::protos::types::empty::Empty;
use serde::Deserialize;

/// The type of containerd's general options:
/// `pkg/runtimeoptions/v1/api.proto` of containerd.
const TYPE: &str = "runtimeoptions.v1.Options";

/// The number of its field `config_body`, which is TOML.
const CONFIG_BODY: u32 = 3;

/// The TOML's options, named as in runc's options.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Options {
    /// Whether systemd creates the control groups.
    #[serde(rename = "SystemdCgroup", alias = "systemd_cgroup")]
    pub(super) systemd_cgroup: bool,
}

/// Reads the options; all have defaults.
///
/// # Errors
/// If they are of another type, or the TOML cannot be read.
pub(super) fn read(options: Option<&Any>) -> anyhow::Result<Options> {
    let Some(options) = options else {
        return Ok(Options::default());
    };
    if options.type_url != TYPE {
        bail!(
            "the runtime's options are of type `{}`, expected `{TYPE}`",
            options.type_url
        );
    }
    // A message without fields keeps those that it does not know.
    let fields = Empty::parse_from_bytes(&options.value)
        .context("the runtime's options cannot be decoded")?;
    let body = match fields.special_fields.unknown_fields().get(CONFIG_BODY) {
        Some(UnknownValueRef::LengthDelimited(body)) => body,
        _ => &[],
    };
    let body = std::str::from_utf8(body).context("the runtime's options are not text")?;
    toml::from_str(body).context("the runtime's options are invalid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: &str, body: &str) -> Any {
        let mut value = vec![(CONFIG_BODY << 3 | 2) as u8, body.len() as u8];
        value.extend(body.as_bytes());
        Any {
            type_url: kind.to_owned(),
            value,
            ..Any::default()
        }
    }

    #[test]
    fn systemd_makes_the_control_groups_where_it_is_asked_to() {
        assert!(!read(None).unwrap().systemd_cgroup);
        assert!(!read(Some(&options(TYPE, ""))).unwrap().systemd_cgroup);
        let asked = options(TYPE, "SystemdCgroup = true");
        assert!(read(Some(&asked)).unwrap().systemd_cgroup);
    }

    #[test]
    fn options_of_another_runtime_are_named() {
        let error = read(Some(&options("containerd.runc.v1.Options", ""))).unwrap_err();
        assert!(
            error.to_string().contains("containerd.runc.v1.Options"),
            "{error}"
        );
        let error = read(Some(&options(TYPE, "SystemdCgroup = 3"))).unwrap_err();
        assert!(format!("{error:#}").contains("invalid type"), "{error:#}");
        let error = read(Some(&options(TYPE, "Systemd = true"))).unwrap_err();
        assert!(format!("{error:#}").contains("`Systemd`"), "{error:#}");
    }
}
