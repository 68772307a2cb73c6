//! Names of environment variables: which are settings, and which come from Kubernetes.

/// What names of settings begin with.
pub(super) const PREFIX: &str = "SKIFF_";

/// Variables that Kubernetes adds to every pod of a namespace for each of its Services. A
/// Service called `skiff` or `skiff-shop` creates names that look like Skiff's settings;
/// they are never settings, and never cause a warning.
pub fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let words: Vec<&str> = rest.split('_').collect();
    (0..words.len()).any(|start| is_link_ending(&words[start..]))
}

/// The words that follow the Service's name.
fn is_link_ending(words: &[&str]) -> bool {
    match words {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", port, protocol, rest @ ..] => {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && matches!(*protocol, "TCP" | "UDP" | "SCTP")
                && matches!(rest, [] | ["PROTO" | "PORT" | "ADDR"])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_adds_for_a_service_is_known() {
        for name in [
            "SKIFF_SERVICE_HOST",
            "SKIFF_SERVICE_PORT",
            "SKIFF_SERVICE_PORT_HTTP",
            "SKIFF_PORT",
            "SKIFF_PORT_80_TCP",
            "SKIFF_PORT_80_TCP_PROTO",
            "SKIFF_PORT_80_TCP_PORT",
            "SKIFF_PORT_80_TCP_ADDR",
            "SKIFF_SHOP_SERVICE_HOST",
            "SKIFF_SHOP_PORT",
            "SKIFF_SHOP_PORT_9000_UDP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_no_service_link() {
        for name in [
            "SKIFF_REQUEST_TIMEUOT",
            "SKIFF_PORT_NUMBER_X",
            "SKIFF_SERVICE",
            "PORT",
            "KUBERNETES_SERVICE_HOST",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
