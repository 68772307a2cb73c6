//! The configuration of HTTP triggers, the same in manifests and locked applications.

use serde_json::{Map, Value as Json, json};

use crate::check::passed;
use crate::fields::{Ask, Fields, boolean, text};
use crate::model::{HttpExecutor, HttpRoute, HttpTarget, HttpTrigger, StaticResponse};
use crate::node::{Entry, Node, Value};
use crate::trigger::Runs;

/// The default arguments of a WAGI program.
const DEFAULT_WAGI_ARGV: &str = "${SCRIPT_NAME} ${ARGS}";

/// The only entry point of WAGI programs that is still supported.
const WAGI_ENTRYPOINT: &str = "_start";

/// Reads a trigger's configuration, from which `component` has been taken.
pub(crate) fn read(runs: Runs, mut fields: Fields<'_>) -> Option<HttpTrigger> {
    let ask = fields.ask.clone();
    let at = fields.at;
    let answers = fields.has("static_response");
    let response = fields.optional("static_response", static_response);
    let route = fields.required("route", route);
    let executor = fields
        .optional("executor", executor)
        .unwrap_or(Some(HttpExecutor::Http));
    fields.done();
    let target = match (runs, answers) {
        (Runs::Component(_), true) => {
            ask.fault(at, "must not have both `component` and `static_response`");
            None
        }
        (Runs::Component(id), false) => Some(HttpTarget::Component(id.value)),
        (Runs::Nothing, false) => {
            ask.fault(at, "must have `component` or `static_response`");
            None
        }
        (Runs::Nothing, true) => response.map(HttpTarget::Static),
        (Runs::Unknown, _) => None,
    };
    Some(HttpTrigger {
        // A wrong route was reported; the component can still be checked.
        route: route.unwrap_or(HttpRoute::Private),
        target: target?,
        executor: executor?,
    })
}

fn route(node: Node, ask: &Ask<'_>) -> Option<HttpRoute> {
    match node.value {
        Value::Text(route) => {
            let checked = check_route(&route).map(|()| HttpRoute::Path(route));
            passed(checked, node.at, ask)
        }
        Value::Table(_) => {
            let mut fields = Fields::of(node, ask)?;
            let private = fields.required("private", boolean);
            fields.done();
            let private = private?;
            if !private.value {
                ask.fault(private.at, "must be a route or `{ private = true }`");
            }
            private.value.then_some(HttpRoute::Private)
        }
        _ => {
            ask.mismatch(&node, "a route or `{ private = true }`");
            None
        }
    }
}

/// Checks that wildcards only occur at the end.
fn check_route(route: &str) -> Result<(), String> {
    let path = ["/...", "/*"]
        .iter()
        .find_map(|end| route.strip_suffix(end))
        .unwrap_or(route);
    // `*` and `...` alone mean `/*` and `/...`, as the slash is added anyway.
    if matches!(path, "*" | "...") {
        return Ok(());
    }
    match path.split(['/', '.']).any(|segment| segment == "*") {
        true => Err(format!(
            "is {route:?}, but a wildcard stands only at the end of a route"
        )),
        false => Ok(()),
    }
}

/// The outer `None` means that it is missing, or that its wrong kind was reported.
fn executor(node: Node, ask: &Ask<'_>) -> Option<Option<HttpExecutor>> {
    let Some(mut fields) = Fields::of(node, ask) else {
        return Some(None);
    };
    let Some(kind) = fields.required("type", text) else {
        return Some(None);
    };
    let executor = match kind.value.as_str() {
        // The second name dates from when there was only one interface.
        "http" | "spin" => HttpExecutor::Http,
        "wagi" => {
            if let Some(entrypoint) = fields.optional("entrypoint", text)
                && entrypoint.value != WAGI_ENTRYPOINT
            {
                let message =
                    format!("must be `{WAGI_ENTRYPOINT}`; others are no longer supported");
                fields.ask.field("entrypoint").fault(entrypoint.at, message);
            }
            let argv = fields.optional("argv", text).map(|argv| argv.value);
            HttpExecutor::Wagi {
                argv: argv.unwrap_or_else(|| DEFAULT_WAGI_ARGV.to_owned()),
            }
        }
        "wasip3-unstable" => {
            let message = "was for previews of WASI 0.3; its release needs no executor";
            fields.ask.field("type").fault(kind.at, message);
            return Some(None);
        }
        other => {
            let message = format!("must be `http` or `wagi`, not {other:?}");
            fields.ask.field("type").fault(kind.at, message);
            return Some(None);
        }
    };
    fields.done();
    Some(Some(executor))
}

fn static_response(node: Node, ask: &Ask<'_>) -> Option<StaticResponse> {
    let mut fields = Fields::of(node, ask)?;
    let status_code = fields.optional("status_code", status_code).unwrap_or(200);
    let headers = fields.map("headers", text);
    let body = fields.optional("body", text).map(|body| body.value);
    // Like Spin, ignore all other fields.
    fields.rest();
    let ask = ask.field("headers");
    let headers = headers.into_iter().filter_map(|(name, value)| {
        let checked = check_header(&name.value, &value.value);
        passed(checked, value.at, &ask.field(&name.value))?;
        Some((name.value, value.value))
    });
    Some(StaticResponse {
        status_code,
        headers: headers.collect(),
        body,
    })
}

fn status_code(node: Node, ask: &Ask<'_>) -> Option<u16> {
    let status = match &node.value {
        Value::Number(number) => number.as_u64().filter(|status| (100..600).contains(status)),
        _ => None,
    };
    let status = status.and_then(|status| u16::try_from(status).ok());
    if status.is_none() {
        ask.fault(node.at, "must be a status from 100 to 599");
    }
    status
}

/// Checks that HTTP/1.1 can transmit a header.
fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err("is not the name of a header");
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("has a control character in its value");
    }
    Ok(())
}

/// Checks `[application.trigger.http]`.
pub(crate) fn check_settings(at: usize, entries: Vec<Entry>, ask: &Ask<'_>) {
    let mut fields = Fields::new(at, entries, ask);
    if let Some(base) = fields.optional("base", text)
        && base.value != "/"
    {
        let message = format!(
            "must be \"/\", not {:?}; write it in front of each route",
            base.value
        );
        fields.ask.field("base").fault(base.at, message);
    }
    fields.done();
}

/// The configuration as in a locked application.
pub(crate) fn to_json(trigger: &HttpTrigger) -> Map<String, Json> {
    let mut config = Map::new();
    if let HttpTarget::Component(id) = &trigger.target {
        config.insert("component".into(), json!(id));
    }
    if let HttpExecutor::Wagi { argv } = &trigger.executor {
        config.insert("executor".into(), json!({ "argv": argv, "type": "wagi" }));
    }
    let route = match &trigger.route {
        HttpRoute::Path(route) => json!(route),
        HttpRoute::Private => json!({ "private": true }),
    };
    config.insert("route".into(), route);
    if let HttpTarget::Static(response) = &trigger.target {
        let mut members = Map::new();
        if let Some(body) = &response.body {
            members.insert("body".into(), json!(body));
        }
        if !response.headers.is_empty() {
            members.insert("headers".into(), json!(response.headers));
        }
        members.insert("status_code".into(), json!(response.status_code));
        config.insert("static_response".into(), Json::Object(members));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_at_the_end() {
        for route in [
            "",
            "/",
            "/...",
            "/a/...",
            "/a/*",
            "*",
            "...",
            "/a*b",
            "/:x/:y.json",
            "/a.b",
        ] {
            assert_eq!(check_route(route), Ok(()), "{route:?}");
        }
        for route in ["/*/a", "/a/*/...", "/a.*"] {
            assert!(check_route(route).is_err(), "{route:?}");
        }
    }

    #[test]
    fn headers_must_fit_into_a_response() {
        assert_eq!(check_header("x-a", "b c\td"), Ok(()));
        assert!(check_header("x a", "").is_err());
        assert!(check_header("", "").is_err());
        assert!(check_header("x-a", "b\r\nx-c: d").is_err());
    }
}
