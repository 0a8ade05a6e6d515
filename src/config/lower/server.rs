//! Settings of the process and of the control API.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{HOUR, Limits, Lowering, SECOND};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Brief, Located};
use crate::config::values;
use crate::model::{ControlApi, Driver, Server, SpanExport, Workers};

/// One in so many requests becomes a span.
const SAMPLE_ONE_IN: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// Most worker threads.
const WORKERS_MAX: usize = 1024;

impl Lowering<'_, '_> {
    pub(super) fn server(&mut self, file: &file::Server) -> Server {
        let mut server = Server::default();
        let workers = self.read(&file.workers, |text| match text.0.as_str() {
            "auto" => Ok(Workers::Auto),
            number => match number.parse() {
                Ok(count) if usize::from(count) <= WORKERS_MAX => Ok(Workers::Count(count)),
                _ => Err(values::Flaw::new(
                    format!("{} is not a number of workers", quote(number)),
                    format!("\"auto\" or a number from 1 to {WORKERS_MAX}"),
                )),
            },
        });
        server.workers = workers.unwrap_or(server.workers);
        if let Some(driver) = &file.driver {
            server.driver = match driver.value {
                file::Driver::Auto => Driver::Auto,
                file::Driver::IoUring => Driver::IoUring,
                file::Driver::Epoll => Driver::Epoll,
            };
        }
        let limits = Limits { min: Duration::ZERO, max: HOUR, odd_below: SECOND };
        self.duration(&file.drain_timeout, &limits, &mut server.drain_timeout);
        server.state_dir = self.read(&file.state_dir, |text| values::file_path(text));
        if let Some(control) = &file.control {
            server.control = self.control(control);
        }
        server.spans = file.tracing.as_ref().and_then(|tracing| self.tracing(tracing));
        server
    }

    fn tracing(&mut self, located: &Located<Brief<file::Tracing>>) -> Option<SpanExport> {
        let file = &located.value.0;
        let endpoint = self.read(&file.endpoint, |text| values::endpoint(text));
        let service = self.read(&file.service, |text| values::service(text));
        let one_in = file.sample_one_in.as_ref().and_then(|key| NonZeroU32::new(key.value));
        let (collector, path) = endpoint?;
        Some(SpanExport {
            collector,
            path,
            sample_one_in: one_in.unwrap_or(SAMPLE_ONE_IN),
            service: service.unwrap_or_else(|| "ringway".into()),
        })
    }

    fn control(&mut self, located: &Located<file::ControlApi>) -> ControlApi {
        let file = &located.value;
        let address = self.read(&file.address, |text| values::listener_address(text));
        let socket = self.read(&file.socket, |text| values::socket_path(text));
        let token_file = self.read(&file.token_file, |text| values::file_path(text));
        let metrics_address =
            self.read(&file.metrics_address, |text| values::listener_address(text));
        let control = ControlApi { socket, address, token_file, metrics_address, optional: false };
        if !self.findings.is_intact(&located.at) {
            return control;
        }
        if file.socket.is_none() && file.address.is_none() {
            let problem = "the control API has neither `socket` nor `address`";
            let help = "for example `socket = \"/run/ringway/control.sock\"`";
            self.findings.warning(&located.at, problem).help(help);
        }
        if let (Some(address), Some(metrics), Some(key)) =
            (address, metrics_address, &file.metrics_address)
            && address.port() != 0
            && address == metrics
        {
            let problem = format!("{address} is the address of the control API itself");
            let help = "metrics are there too; name another port, or remove the key";
            self.findings.error(&key.at, problem).help(help);
        }
        if let (Some(address), Some(key), None) = (address, &file.address, &file.token_file)
            && !address.ip().to_canonical().is_loopback()
        {
            let problem = format!("{address} can be reached from other hosts, without a token");
            let help = "add `token_file`, or use a loopback address: \"127.0.0.1:9900\"";
            self.findings.error(&key.at, problem).help(help);
        }
        if let (Some(token), None) = (&file.token_file, &file.address) {
            let problem = "`token_file` has no effect without `address`";
            let help = "a Unix socket is guarded by its mode, 0660; remove the key";
            self.findings.warning(&token.at, problem).help(help);
        }
        control
    }
}
