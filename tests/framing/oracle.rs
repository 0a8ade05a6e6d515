//! Sends bytes through a balancer and says what came of them on both sides.

use http_desync_guardian::RequestSafetyTier;
use http_desync_guardian::request_analyzer::HttpRequestData;

use crate::harness::*;

/// Whether AWS's own classifier calls this head an attack.
pub(crate) fn is_severe(head: &[u8]) -> bool {
    HttpRequestData::analyze_raw_request(head).tier == RequestSafetyTier::Severe
}

/// A balancer with one worker and one target, both watched.
pub(crate) struct Oracle {
    target: Target,
    balancer: Balancer,
}

/// What came of some bytes.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Responses with 200.
    pub(crate) answered: usize,
    /// Status of the refusal, which can only be the last response.
    pub(crate) refusal: Option<u16>,
    /// Complete requests at the target.
    pub(crate) requests: Vec<Request>,
}

/// Most cuts at which the next piece waits until the balancer has read the one before.
const PIECES_MAX: usize = 3;
const SENTINEL: &str = "/sentinel";

impl Oracle {
    pub(crate) fn start() -> Self {
        let target = Target::named("ok");
        let balancer = http(&[&target]).one_worker().start();
        Self { target, balancer }
    }

    /// Sends `bytes` cut at `cuts` on a new connection, and FIN at once if `ends`, else after the
    /// first response.
    ///
    /// # Errors
    /// When a response is malformed or missing, when the balancer keeps a connection after a
    /// refusal, or when the target received something that is not a run of whole requests.
    pub(crate) fn send(&self, bytes: &[u8], cuts: &[usize], ends: bool) -> Result<Outcome, String> {
        let before = self.received();
        let mut client = self.balancer.client();
        match cuts.len() {
            1..=PIECES_MAX => client.send_pieces(bytes, cuts),
            _ => client.send_cut(bytes, cuts),
        }
        if ends {
            client.half_close();
        }
        let (answered, refusal) = responses(&mut client, ends)?;
        // Sent through the same worker afterwards: what it was to forward before has arrived.
        let sentinel = self.balancer.client().get(SENTINEL);
        if sentinel.status != 200 {
            return Err(format!("sentinel got {}", sentinel.status));
        }
        let requests = self.requests_since(&before)?;
        if answered != requests.len() {
            let requests = requests.len();
            return Err(format!(
                "{answered} responses with 200, {requests} requests at the target"
            ));
        }
        Ok(Outcome { answered, refusal, requests })
    }

    fn received(&self) -> Vec<usize> {
        self.target.connections().iter().map(|record| record.received.len()).collect()
    }

    /// Requests that arrived since, without sentinels.
    fn requests_since(&self, before: &[usize]) -> Result<Vec<Request>, String> {
        let mut found = Vec::new();
        for (index, mut record) in self.target.connections().into_iter().enumerate() {
            record.received.drain(..before.get(index).copied().unwrap_or(0));
            let (requests, rest) = record.parse();
            if let Parsed::Invalid(problem) = rest {
                return Err(format!("target received {problem}: {}", show(&record.received)));
            }
            found.extend(requests);
        }
        found.retain(|request| request.target != SENTINEL);
        match found.iter().find(|request| is_suspicious(request)) {
            Some(request) => Err(format!("target received {request:?}")),
            None => Ok(found),
        }
    }
}

/// A smuggled request, or fields that must not reach a target.
fn is_suspicious(request: &Request) -> bool {
    let framing = ["content-length", "transfer-encoding", "host"];
    let forbidden = |(name, _): &(String, String)| framing.contains(&&*name.to_ascii_lowercase());
    let hop = ["connection", "upgrade", "expect", "te", "keep-alive", "proxy-connection"];
    let absolute = request.target.contains("://");
    request.target.contains("smuggled")
        || request.trailers.iter().any(forbidden)
        || (request.field("upgrade") != Some("websocket")
            && hop.iter().any(|name| !request.values(name).is_empty()))
        || (absolute && !authority_agrees(request))
}

fn authority_agrees(request: &Request) -> bool {
    let authority = request.target.split("://").nth(1).and_then(|rest| rest.split('/').next());
    authority.is_some_and(|authority| request.field("host") == Some(authority))
}

/// Reads final responses to the end of the connection: how many were 200, and the refusal.
fn responses(client: &mut Client, ended: bool) -> Result<(usize, Option<u16>), String> {
    let (mut answered, mut ended) = (0, ended);
    loop {
        match client.try_response("GET") {
            Ok(response) if response.status < 200 => {}
            Ok(response) if response.status == 200 => {
                answered += 1;
                if !ended {
                    client.half_close();
                    ended = true;
                }
            }
            Ok(response) => {
                let (rest, end) = client.rest();
                return match (rest.as_slice(), end) {
                    (b"", End::Closed | End::Reset) => Ok((answered, Some(response.status))),
                    _ => Err(format!("{end:?} and {} after a refusal", show(&rest))),
                };
            }
            Err(ReadError::Ended(End::Closed, rest)) if rest.is_empty() && ended => {
                return Ok((answered, None));
            }
            Err(error) => return Err(format!("{error:?} after {answered} responses")),
        }
    }
}
