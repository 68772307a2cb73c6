//! TLS for the requests of guests: rules for some components and hosts, and what holds for all
//! others.

use std::io;

use skiff_backend_tls::{Settings as TlsSettings, TlsStream};
use skiff_manifest::hosts::Host;
use tokio::net::TcpStream;

use crate::Settings;
use crate::settings::ClientTls;

#[derive(Debug)]
pub(crate) struct Tls {
    /// In the order in which they are looked at.
    rules: Vec<(ClientTls, skiff_backend_tls::Tls)>,
    usual: skiff_backend_tls::Tls,
}

impl Tls {
    pub(crate) fn new(settings: &Settings) -> Self {
        let made = |mut settings: TlsSettings| {
            settings.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            skiff_backend_tls::Tls::new(settings)
        };
        let rule = |rule: &ClientTls| (rule.clone(), made(rule.tls.clone()));
        Tls {
            rules: settings.client_tls.iter().map(rule).collect(),
            usual: made(TlsSettings::new(settings.authorities.clone())),
        }
    }

    /// The rule for a component's connections to a host, if there is one.
    pub(crate) fn rule(&self, component: &str, host: &Host) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let name = without_brackets(host);
        self.rules
            .iter()
            .position(|(rule, _)| rule.components.contains(component) && rule.hosts.contains(&name))
    }

    /// Agrees on TLS with a host, which proves its name.
    pub(crate) async fn connect(
        &self,
        rule: Option<usize>,
        host: &Host,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let rule = rule.and_then(|rule| self.rules.get(rule));
        let tls = rule.map_or(&self.usual, |(_, tls)| tls);
        tls.connect(&without_brackets(host), stream).await
    }
}

/// A host as rules and certificates have it.
fn without_brackets(host: &Host) -> String {
    let name = host.to_string();
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.to_owned()
}
