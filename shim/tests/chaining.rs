//! Requests that guests send to other components, and to their own application.

mod support;

use support::Skiff;
use support::relay::{BOTH, app, start};

#[test]
fn three_components_call_each_other_without_a_socket() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        let answer = skiff.post(
            "/?url=http://hidden.spin.internal/?url=http://headers.spin.internal/x/y?z",
            "ping",
        );
        let text = answer.text();
        assert_eq!(answer.status, 200, "{guest}: {text}");
        for line in [
            ":method Method::Post",
            "spin-path-info: /x/y",
            "spin-matched-route: /...",
            "spin-component-route: \n",
            "spin-raw-component-route: /...",
            "spin-client-addr: 0.0.0.0:0",
            "spin-full-url: http://localhost/x/y?z",
        ] {
            assert!(text.contains(line), "{guest}: {line}: {text}");
        }
    }
}

#[test]
fn a_component_that_does_not_exist_traps_its_caller() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        assert_eq!(skiff.get("/?url=http://nobody.spin.internal/").status, 500);
        let denied = skiff.get("/?url=https://headers.spin.internal/");
        assert!(
            denied.text().contains("HttpRequestDenied"),
            "{}",
            denied.text()
        );
        let told = skiff.stop().stderr;
        assert!(told.contains("runs a component `nobody`"), "{told}");
    }
}

#[test]
fn a_component_that_fails_answers_its_caller_with_500() {
    let text = r#"spin_manifest_version = 2
[application]
name = "a"
[[trigger.http]]
route = "/..."
component = "web"
[[trigger.http]]
route = { private = true }
component = "broken"
[component.web]
source = "{guest:relay}"
allowed_outbound_hosts = ["http://broken.spin.internal"]
[component.broken]
source = "{guest:trap}"
"#;
    let skiff = Skiff::manifest(text).start();
    assert_eq!(skiff.get("/?url=http://broken.spin.internal/").status, 500);
    let told = skiff.stop().stderr;
    assert!(told.contains("component_id=\"broken\""), "{told}");
}

#[test]
fn a_loop_of_components_ends_with_an_error() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        let url = "http://hidden.spin.internal/?url=http://web.spin.internal/?url=".repeat(12);
        let answer = skiff.get(&format!("/?url={url}http://headers.spin.internal/"));
        assert_eq!(answer.status, 502, "{guest}");
        assert!(
            answer.text().contains("LoopDetected"),
            "{guest}: {}",
            answer.text()
        );
    }
}

#[test]
fn an_application_calls_itself_by_its_own_routes() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://self\"");
        for url in ["/headers?x", "http://self.alt/headers?x"] {
            let answer = skiff.get(&format!("/?url={url}"));
            let text = answer.text();
            assert_eq!(answer.status, 200, "{guest} {url}: {text}");
            assert!(text.contains("spin-matched-route: /headers"), "{text}");
            assert!(text.contains("spin-client-addr: 127.0.0.1:"), "{text}");
        }
        let other = start(guest, "\"http://127.0.0.1:*\"").get("/?url=/headers");
        assert!(
            other.text().contains("HttpRequestDenied"),
            "{}",
            other.text()
        );
    }
}

#[test]
fn a_loop_of_requests_to_oneself_ends_with_an_error_in_all_workers() {
    for guest in BOTH {
        let skiff = app(guest, "\"http://self\", \"http://hidden.spin.internal\"")
            .env("SKIFF_WORKERS", "2")
            .start();
        let to_oneself = |times| format!("/?url={}/headers", "/?url=".repeat(times));
        let few = skiff.send(&format!(
            "GET {} HTTP/1.1\r\nhost: a\r\nskiff-own-request: 0 16\r\nconnection: close\r\n\r\n",
            to_oneself(10)
        ));
        assert_eq!(few.status, 200, "{guest}: {}", few.text());
        assert!(!few.text().contains("skiff-"), "{guest}: {}", few.text());
        let mixed =
            "http://hidden.spin.internal/?url=http://web.spin.internal/?url=http://self.alt/?url=";
        for url in [to_oneself(24), format!("/?url={}/headers", mixed.repeat(8))] {
            let many = skiff.get(&url);
            assert_eq!(many.status, 502, "{guest}: {}", many.text());
            assert!(many.text().contains("LoopDetected"), "{}", many.text());
        }
    }
}
