//! Listeners: addresses, modes, attributes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;

use super::{Limits, Lowering, SECOND, WAIT};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Located, Many};
use crate::config::values;
use crate::model::{
    Action, DesyncMitigation, Forward, HttpOptions, Listener, Mode, MutualAuthentication,
    ProxyProtocolVersion, TrustedFronts, XffProcessing,
};

/// Where a listener goes whose own address could not be read; never looked at.
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Lowering<'_, '_> {
    pub(super) fn listeners(&mut self, file: &[Located<file::Listener>]) -> Vec<Listener> {
        if file.is_empty() && self.findings.is_intact(&(0..0)) {
            let none = self.findings.error(&(0..0), "there is no listener, so nothing to serve");
            none.help("add a `[[listeners]]` with `name`, `address` and `default`");
        }
        self.duplicate_names(file);
        let listeners: Vec<_> = file.iter().map(|listener| self.listener(listener)).collect();
        self.clashes(file);
        self.shared_logs(file, &listeners);
        listeners
    }

    fn duplicate_names(&mut self, file: &[Located<file::Listener>]) {
        let mut first: HashMap<&str, &Range<usize>> = HashMap::new();
        for listener in file {
            let Some(name) = &listener.value.name else { continue };
            if let Some(earlier) = first.get(name.value.as_str()) {
                let earlier = self.findings.name_of(earlier);
                let problem = format!("{} is already the name of {earlier}", quote(&name.value));
                self.findings.error(&name.at, problem).help("give each listener its own name");
                continue;
            }
            first.insert(&name.value, &listener.at);
        }
    }

    /// Two listeners cannot share a port on an address, nor one port on all addresses and on one
    /// of them. `[::]` takes IPv4 as well, `0.0.0.0` takes IPv4 only.
    fn clashes(&mut self, file: &[Located<file::Listener>]) {
        type Bound<'k> = (SocketAddr, &'k Located<file::Listener>);
        let mut by_port: HashMap<u16, Vec<Bound<'_>>> = HashMap::new();
        for listener in file {
            let Some(text) = &listener.value.address else { continue };
            let Ok(address) = values::listener_address(&text.value) else { continue };
            if address.port() == 0 {
                continue;
            }
            let same_port = by_port.entry(address.port()).or_default();
            let clash = same_port.iter().find(|(other, _)| {
                other.ip() == address.ip() || covers(*other, address) || covers(address, *other)
            });
            if let Some((other_address, other)) = clash {
                let name = other.value.name.as_ref().map_or("", |name| &name.value);
                let place = self.findings.name_of(&other.at);
                let problem = format!(
                    "{address} clashes with {other_address} of listener {}, {place}",
                    quote(name)
                );
                let help = "give one of them another port, or two different addresses";
                self.findings.error(&text.at, problem).help(help);
            }
            same_port.push((address, listener));
        }
    }

    fn listener(&mut self, listener: &Located<file::Listener>) -> Listener {
        let file = &listener.value;
        let name = self.read(&file.name, |name| values::name(name)).unwrap_or_default();
        let address = self.read(&file.address, |text| values::listener_address(text));
        let mode = match file.mode.as_ref().map(|mode| mode.value) {
            Some(file::Mode::L4) => Mode::L4,
            Some(file::Mode::L7) | None => Mode::L7,
        };
        let default = file.default.as_ref().and_then(|action| {
            let action = Located { at: action.at.clone(), value: (&action.value).into() };
            self.action(&action, address)
        });
        let nothing = || Action::Forward(Forward { groups: Vec::new(), stickiness: None });
        let address = address.unwrap_or(PLACEHOLDER);
        let mut lowered = Listener::new(name, address, mode, default.unwrap_or_else(nothing));
        lowered.rules = self.rules(&file.rules, address);
        lowered.server_names = self.server_names(&file.server_names);
        lowered.http = self.http_options(file);
        self.duration(&file.idle_timeout, &WAIT, &mut lowered.idle_timeout);
        self.duration(&file.head_timeout, &WAIT, &mut lowered.head_timeout);
        let age =
            Limits { min: SECOND, max: Duration::from_secs(7 * 24 * 3600), odd_below: SECOND };
        self.duration(&file.client_keep_alive, &age, &mut lowered.client_keep_alive);
        self.proxy_protocol(file, &mut lowered);
        lowered.tls = file.tls.as_ref().map(|tls| self.tls(tls));
        lowered.access_log = file.access_log.as_ref().map(|log| self.access_log(log));
        self.keys_of_mode(file, &lowered);
        self.sticky_forwards(file, lowered.mode);
        lowered
    }

    fn http_options(&mut self, file: &file::Listener) -> HttpOptions {
        let mut options = HttpOptions::default();
        if let Some(mode) = &file.xff_header_processing {
            options.xff_header_processing = match mode.value {
                file::XffProcessing::Append => XffProcessing::Append,
                file::XffProcessing::Preserve => XffProcessing::Preserve,
                file::XffProcessing::Remove => XffProcessing::Remove,
            };
        }
        if let Some(mode) = &file.desync_mitigation_mode {
            options.desync_mitigation = match mode.value {
                file::DesyncMitigation::Defensive => DesyncMitigation::Defensive,
                file::DesyncMitigation::Strictest => DesyncMitigation::Strictest,
            };
        }
        for (key, option) in [
            (&file.xff_client_port, &mut options.xff_client_port),
            (&file.x_amzn_tls_version_and_cipher_suite, &mut options.tls_version_and_cipher_suite),
            (&file.http2, &mut options.http2),
            (&file.h2c, &mut options.h2c),
            (&file.preserve_host_header, &mut options.preserve_host_header),
            (&file.drop_invalid_header_fields, &mut options.drop_invalid_header_fields),
        ] {
            *option = key.as_ref().map_or(*option, |key| key.value);
        }
        if let Some(field) = self.read(&file.server_header, |text| values::server_field(text)) {
            options.server_header = field;
        }
        options
    }

    fn proxy_protocol(&mut self, file: &file::Listener, lowered: &mut Listener) {
        lowered.proxy_protocol = file.proxy_protocol.as_ref().map(|version| match version.value {
            file::ProxyProtocol::V1 => ProxyProtocolVersion::V1,
            file::ProxyProtocol::V2 => ProxyProtocolVersion::V2,
        });
        let accepts = file.accept_proxy_protocol.as_ref().is_some_and(|accept| accept.value);
        let fronts = file.trusted_fronts.as_ref().map(|fronts| (fronts, self.fronts(fronts)));
        match (accepts, fronts) {
            (true, Some((_, fronts))) => {
                lowered.accept_proxy_protocol = Some(TrustedFronts(fronts))
            }
            (true, None) => lowered.accept_proxy_protocol = Some(TrustedFronts::default()),
            (false, Some((located, _))) => {
                let problem = "`trusted_fronts` needs `accept_proxy_protocol = true`";
                let help = "set it, or remove `trusted_fronts`; without it no header is believed";
                self.findings.error(&located.at, problem).help(help);
            }
            (false, None) => {}
        }
    }

    fn fronts(&mut self, fronts: &Located<Many<String>>) -> Vec<IpNet> {
        if fronts.value.0.is_empty() && self.findings.is_intact(&fronts.at) {
            // In the model an empty list is any peer: too much to grant to an empty list here.
            let problem = "`trusted_fronts` is empty";
            self.findings.error(&fronts.at, problem).help("list the fronts, or remove the key");
        }
        self.networks(&fronts.value)
    }

    /// Reads CIDR blocks and addresses.
    pub(super) fn networks(&mut self, texts: &Many<String>) -> Vec<IpNet> {
        let mut networks = Vec::with_capacity(texts.0.len());
        for text in &texts.0 {
            let Some(network) = self.read_value(text, |text| values::network(text)) else {
                continue;
            };
            if network != network.trunc() {
                let problem = format!("{} has bits beyond its prefix", quote(&text.value));
                let help = format!("it means \"{}\"; write that", network.trunc());
                self.findings.warning(&text.at, problem).help(help);
            }
            networks.push(network.trunc());
        }
        networks
    }

    /// Reports keys that the mode of the listener refuses, and warns of those it ignores.
    fn keys_of_mode(&mut self, file: &file::Listener, lowered: &Listener) {
        fn at<T>(key: &file::Key<T>) -> Option<&Range<usize>> {
            key.as_ref().map(|key| &key.at)
        }
        if lowered.tls.is_none() {
            let help = "add `tls`, or remove the key";
            let keys = [at(&file.x_amzn_tls_version_and_cipher_suite), at(&file.http2)];
            self.without_effect("a listener without `tls`", help, keys);
        } else {
            let help = "remove the key; `http2` is what decides there";
            self.without_effect("a listener with `tls`", help, [at(&file.h2c)]);
        }
        if lowered.mode == Mode::L7 {
            let help = "on l7, X-Forwarded-For carries the client's address; PROXY headers need l4";
            self.without_effect("an l7 listener", help, [at(&file.proxy_protocol)]);
            let help = "on l7, a rule with `host_header` looks at the name";
            self.without_effect("an l7 listener", help, [at(&file.server_names)]);
            return;
        }
        if let Some(rule) = file.rules.first() {
            let problem = "the rules of an l4 listener sleep: it does not read requests";
            let help = "remove the rules, or set `mode = \"l7\"`; `ringway mode` wakes them, too";
            self.findings.warning(&rule.at, problem).help(help);
        }
        if let (Some(default), false) =
            (&file.default, matches!(lowered.default, Action::Forward(_)))
        {
            let problem = "the default of an l4 listener must be a forward";
            let help = "for example `default = { forward = \"blog\" }`";
            self.findings.error(&default.at, problem).help(help);
        }
        if let (Some(names), Some(_)) = (&file.server_names, &file.tls) {
            let problem =
                "`server_names` beside `tls`: connections that end here are not passed on";
            let help = "remove `tls` to pass them on as they are, or `server_names`";
            self.findings.error(&names.at, problem).help(help);
        }
        let tls = lowered.tls.as_ref().and_then(|tls| tls.mutual_authentication.as_ref());
        if let (Some(MutualAuthentication::Unverified), Some(at)) = (tls, at(&file.tls)) {
            let problem = "`mode = \"passthrough\"` tells targets nothing on an l4 listener";
            let help = "it does not read requests; use \"verify\", or `mode = \"l7\"`";
            self.findings.warning(at, problem).help(help);
        }
        let forward = file.default.as_ref().and_then(|default| default.value.forward.as_ref());
        let help = "an l4 listener passes bytes on unread; remove the key";
        self.without_effect(
            "an l4 listener",
            help,
            [
                at(&file.head_timeout).filter(|_| file.server_names.is_none()),
                at(&file.client_keep_alive),
                at(&file.xff_header_processing),
                at(&file.x_amzn_tls_version_and_cipher_suite),
                at(&file.http2),
                at(&file.h2c),
                at(&file.xff_client_port),
                at(&file.preserve_host_header),
                at(&file.drop_invalid_header_fields),
                at(&file.desync_mitigation_mode),
                at(&file.server_header),
                forward.and_then(|forward| at(&forward.value.stickiness)),
            ],
        );
    }
}

/// Whether `all` is a wildcard that takes connections to the address of `one` as well.
fn covers(all: SocketAddr, one: SocketAddr) -> bool {
    all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}
