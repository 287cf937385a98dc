//! `/metrics`: what the gateway counts itself, and what the node's status says at the moment of asking.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use guildhall_protocol::api::Status;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What the encoded text is.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the duration buckets, seconds: from a catalogue lookup to a package fetched from far away.
const SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// Every counter and gauge of one gateway.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, SecondsBuckets>,
    peers: UnsignedGauge,
    records: UnsignedGauge,
    listings: UnsignedGauge,
    packages: UnsignedGauge,
    jobs: UnsignedGauge,
    uptime: UnsignedGauge,
    missing: UnsignedGauge,
    stale: UnsignedGauge,
    dropped: UnsignedGauge,
}

type UnsignedGauge = Gauge<u64, AtomicU64>;

/// Labels of the request counter. The route is a pattern, never a path that a client chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

/// Labels of the request durations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Clone)]
struct SecondsBuckets;

impl MetricConstructor<Histogram> for SecondsBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("guild");
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let seconds = Family::new_with_constructor(SecondsBuckets);
        registry.register(
            "http_request_seconds",
            "Time until the head of an answer was ready",
            seconds.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = UnsignedGauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            requests,
            seconds,
            peers: gauge("peers", "Connected and admitted peers"),
            records: gauge("records", "Records held"),
            listings: gauge("listings", "Listings in the catalogue"),
            packages: gauge("packages", "Complete packages held"),
            jobs: gauge("jobs", "Jobs being executed"),
            uptime: gauge("uptime_seconds", "Time since the node started"),
            missing: gauge(
                "records_missing",
                "Records that peers say to have and that are not here",
            ),
            stale: gauge("stale_seconds", "Time without another org, from a day on; else 0"),
            dropped: gauge("dropped", "What was given up since the start"),
            registry,
        }
    }

    /// Counts one answered request.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let method = known_method(method);
        let route = route.to_owned();
        let labels = Route { method, route: route.clone() };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { method, route, status }).inc();
    }

    /// Everything as text, with the gauges as `status` has them.
    ///
    /// # Errors
    /// When a collector cannot be written, which none of ours does.
    pub(crate) fn encode(&self, status: &Status) -> Result<String, Error> {
        self.peers.set(status.peers);
        self.records.set(status.records);
        self.listings.set(status.listings);
        self.packages.set(status.packages);
        self.jobs.set(status.jobs);
        self.uptime.set(status.uptime_s);
        let complete = &status.completeness;
        self.missing.set(complete.records_known.saturating_sub(complete.records_held));
        self.stale.set(status.stale.map_or(0, |stale| stale.heard_s));
        self.dropped.set(status.dropped.iter().fold(0, |sum, one| sum.saturating_add(one.count)));
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Methods become labels, and clients may invent methods.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
