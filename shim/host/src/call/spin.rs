//! `fermyon:spin/inbound-http`, the handler of Spin 1: a function from a request to a
//! response, both with whole bodies.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use skiff_engine::Permits;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::body::Payload;
use super::running::Guests;
use super::{BodyFault, GuestError, Terms, whole};
use crate::Grants;
use crate::interfaces::http::Origin;
use crate::interfaces::http::spin_types::{Method, Request, Response};
use crate::state::State;

/// The interface and its function.
const INTERFACE: &str = "fermyon:spin/inbound-http";
const HANDLE: &str = "handle-request";

/// A component that exports `fermyon:spin/inbound-http`.
pub struct SpinHttp {
    pre: InstancePre<State>,
    handle: ComponentExportIndex,
    grants: Arc<Grants>,
    terms: Terms,
    permits: Permits,
    guests: Guests,
}

impl SpinHttp {
    pub(crate) fn new(
        pre: InstancePre<State>,
        grants: Arc<Grants>,
        terms: Terms,
        permits: Permits,
        guests: Guests,
    ) -> wasmtime::Result<Self> {
        let component = pre.component();
        let interface = component.get_export_index(None, INTERFACE);
        let handle = interface
            .and_then(|interface| component.get_export_index(Some(&interface), HANDLE))
            .ok_or_else(|| wasmtime::format_err!("its `{INTERFACE}` has no `{HANDLE}`"))?;
        Ok(SpinHttp {
            pre,
            handle,
            grants,
            terms,
            permits,
            guests,
        })
    }

    pub(crate) async fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<Payload>, GuestError>
    where
        B: Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        let outbound = self.grants.outbound.is_granted();
        let origin = outbound.then(|| Origin::of(&request));
        let (head, body) = request.into_parts();
        let Some(method) = Method::of(&head.method) else {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(whole::answer(status, HeaderMap::new(), Bytes::new()));
        };
        let body = whole::body(body, &self.grants).await?;
        let uri = head.uri.path_and_query();
        let request = Request {
            method,
            uri: uri.map_or("/", |uri| uri.as_str()).to_owned(),
            headers: headers(&head.headers)?,
            params: Vec::new(),
            body: Some(body.bytes),
        };
        let permit = whole::permit(&self.permits, &self.guests).await?;
        let answered = whole::run(self.terms.limits.deadline, self.call(request, origin)).await;
        drop((body.meter, permit));
        answer(answered?, head.method == http::Method::HEAD)
    }

    async fn call(&self, request: Request, origin: Option<Origin>) -> Result<Response, GuestError> {
        skiff_engine::turn().await;
        let mut store = State::store(self.pre.engine(), &self.grants, &self.terms.ticks);
        store.data_mut().http.answers(origin);
        let instance = self.pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(GuestError::Instantiate)?;
        let handle = instance
            .get_typed_func::<(Request,), (Response,)>(&mut store, self.handle)
            .map_err(GuestError::Instantiate)?;
        let answered = handle.call_async(&mut store, (request,)).await;
        let (response,) = answered.map_err(GuestError::Trap)?;
        Ok(response)
    }
}

fn headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, GuestError> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            GuestError::Request(wasmtime::format_err!("the header `{name}` is not UTF-8"))
        })?;
        Ok((name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().map(text).collect()
}

fn answer(response: Response, to_head: bool) -> Result<http::Response<Payload>, GuestError> {
    let status = Some(response.status).filter(|status| (100..=600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status
        .ok_or_else(|| GuestError::Answer(format!("it has the status {}", response.status)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in response.headers.unwrap_or_default() {
        whole::add_header(&mut headers, to_head, &name, &value)?;
    }
    Ok(whole::answer(
        status,
        headers,
        response.body.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Response {
            status,
            headers: Some(headers.map(pair).collect()),
            body: None,
        }
    }

    #[test]
    fn the_last_header_of_a_name_counts_and_the_connection_is_ours() {
        let given = [
            ("X-A", "1"),
            ("x-a", "2"),
            ("Content-Length", "7"),
            ("Transfer-Encoding", "chunked"),
        ];
        let answer = answer(response(201, &given), false).unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers().len(), 1);
        assert_eq!(answer.headers()["x-a"], "2");
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        for (given, expected) in [
            (response(0, &[]), "it has the status 0"),
            (response(601, &[]), "it has the status 601"),
            (response(200, &[("a b", "")]), "it has the header \"a b\""),
            (response(200, &[("a", "\n")]), "it has the header \"a\""),
        ] {
            let error = answer(given, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
