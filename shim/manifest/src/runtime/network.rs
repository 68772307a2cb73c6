//! `[[client_tls]]` and the tables of limits.

use std::collections::BTreeSet;

use url::Host;

use crate::check::passed;
use crate::fields::{Ask, Fields, boolean, text};
use crate::hosts::Network;
use crate::node::Node;

use super::read::{count, number, some_text};
use super::{
    BlockedNetwork, ClientCertificate, ClientTls, OutboundConnections, OutboundHttp, OutboundMqtt,
    OutboundNetworking,
};

pub(super) fn client_tls(node: Node, ask: &Ask<'_>) -> Option<ClientTls> {
    let mut fields = Fields::of(node, ask)?;
    let before = ask.sink.noted();
    let flag = |fields: &mut Fields<'_>, name| fields.optional(name, boolean).map(|f| f.value);
    let component_ids: BTreeSet<_> = fields
        .list("component_ids", some_text)
        .into_iter()
        .collect();
    let hosts: BTreeSet<_> = fields.list("hosts", host).into_iter().collect();
    let ca_use_platform_roots = flag(&mut fields, "ca_use_platform_roots");
    let ca_use_webpki_roots = flag(&mut fields, "ca_use_webpki_roots");
    let ca_roots_file = fields.optional("ca_roots_file", some_text);
    let cert_file = fields.optional("client_cert_file", some_text);
    let private_key_file = fields.optional("client_private_key_file", some_text);
    let at = fields.at;
    fields.done();
    if ask.sink.noted() != before {
        return None;
    }
    if component_ids.is_empty() || hosts.is_empty() {
        ask.fault(
            at,
            "must name `component_ids` and `hosts`, at least one each",
        );
        return None;
    }
    let client = match (cert_file, private_key_file) {
        (Some(cert_file), Some(private_key_file)) => Some(ClientCertificate {
            cert_file,
            private_key_file,
        }),
        (None, None) => None,
        _ => {
            let message =
                "must have both `client_cert_file` and `client_private_key_file`, or none";
            ask.fault(at, message);
            None
        }
    };
    Some(ClientTls {
        component_ids,
        hosts,
        ca_use_platform_roots,
        ca_use_webpki_roots,
        ca_roots_file,
        client,
    })
}

/// A host without a port, as it is compared.
fn host(node: Node, ask: &Ask<'_>) -> Option<String> {
    let text = text(node, ask)?;
    let host = Host::parse(&text.value).map(|host| host.to_string());
    let host = host.map_err(|_| "must be a name or an address without scheme, port and path");
    passed(host, text.at, ask)
}

pub(super) fn networking(node: Node, ask: &Ask<'_>) -> Option<OutboundNetworking> {
    let mut fields = Fields::of(node, ask)?;
    let networking = OutboundNetworking {
        block_networks: fields.list("block_networks", blocked),
        max_socket_connections: fields.optional("max_socket_connections", count),
        max_total_connections: fields.optional("max_total_connections", count),
    };
    fields.done();
    Some(networking)
}

fn blocked(node: Node, ask: &Ask<'_>) -> Option<BlockedNetwork> {
    let text = text(node, ask)?;
    if text.value == "private" {
        return Some(BlockedNetwork::Private);
    }
    let network = Network::parse(&text.value).map(BlockedNetwork::Range);
    let message = "must be a range of addresses such as `10.0.0.0/8`, or `private`";
    passed(network.ok_or(message), text.at, ask)
}

pub(super) fn http(node: Node, ask: &Ask<'_>) -> Option<OutboundHttp> {
    let mut fields = Fields::of(node, ask)?;
    let pooling = fields.optional("connection_pooling", boolean);
    let both = fields.has("max_connections");
    let most = fields.optional("max_connections", count);
    let old = fields.optional("max_concurrent_requests", |node, ask| {
        if both {
            ask.fault(
                node.at,
                "is the old form of `max_connections`; use one of them",
            );
        }
        count(node, ask)
    });
    fields.done();
    Some(OutboundHttp {
        connection_pooling: pooling.is_none_or(|flag| flag.value),
        max_connections: most.or(old.map(|count| count.saturating_add(1))),
    })
}

pub(super) fn connections(node: Node, ask: &Ask<'_>) -> Option<OutboundConnections> {
    let mut fields = Fields::of(node, ask)?;
    let max_connections = fields.optional("max_connections", count);
    fields.done();
    Some(OutboundConnections { max_connections })
}

pub(super) fn mqtt(node: Node, ask: &Ask<'_>) -> Option<OutboundMqtt> {
    let mut fields = Fields::of(node, ask)?;
    let mqtt = OutboundMqtt {
        max_connections: fields.optional("max_connections", count),
        max_payload_size_bytes: fields
            .optional("max_payload_size_bytes", |node, ask| number(node, ask, 1)),
    };
    fields.done();
    Some(mqtt)
}
