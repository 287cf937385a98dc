//! `[offer]` as a person writes it: a misspelt field is a mistake, sizes may have units, and what is left out has a
//! value that does no harm.

use guildhall_client::package::ByteSize;
use guildhall_protocol::body::{HardwareOffer, OrgQuota};
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::name::OrgName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What a file may say of an offer; the same names as in [`HardwareOffer`], with which it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    slots: u32,
    #[serde(default)]
    hardware: WrittenHardware,
    #[serde(default)]
    limits: NodeLimits,
    #[serde(default)]
    orgs: Vec<OrgName>,
    #[serde(default)]
    cores: u32,
    #[serde(default)]
    memory_bytes: Option<ByteSize>,
    #[serde(default)]
    engines: Vec<String>,
    #[serde(default)]
    quota_core_seconds_per_day: u64,
    #[serde(default)]
    quotas: Vec<WrittenQuota>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenHardware {
    cores: u32,
    gpu_memory_bytes: Option<ByteSize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenQuota {
    org: OrgName,
    core_seconds_per_day: u64,
}

/// Reads an offer and refuses one that could not be fulfilled.
pub(super) fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Option<HardwareOffer>, D::Error> {
    let Some(written) = Option::<Written>::deserialize(input)? else { return Ok(None) };
    let bytes = |size: Option<ByteSize>| size.map_or(0, |size| size.0);
    let quota = |quota: WrittenQuota| OrgQuota {
        org: quota.org,
        core_seconds_per_day: quota.core_seconds_per_day,
    };
    let offer = HardwareOffer {
        slots: written.slots,
        hardware: Hardware {
            cores: written.hardware.cores,
            gpu_memory_bytes: bytes(written.hardware.gpu_memory_bytes),
        },
        limits: written.limits,
        orgs: written.orgs,
        cores: written.cores,
        memory_bytes: bytes(written.memory_bytes),
        engines: written.engines,
        quota_core_seconds_per_day: written.quota_core_seconds_per_day,
        quotas: written.quotas.into_iter().map(quota).collect(),
    };
    offer.check().map_err(D::Error::custom)?;
    Ok(Some(offer))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn config(offer: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(&format!("org = \"lab-a\"\n{offer}"))
    }

    #[test]
    fn nothing_is_lent_unless_it_is_said() {
        assert_eq!(config("").unwrap().offer, None);
        assert!(!config("").unwrap().draining);
    }

    #[test]
    fn an_offer_survives_being_written_and_needs_only_slots() {
        let short = config("[offer]\nslots = 2\n").unwrap();
        assert_eq!(short.offer, Some(HardwareOffer { slots: 2, ..HardwareOffer::default() }));
        let whole = config(
            "draining = true\n[offer]\nslots = 2\ncores = 4\nmemory_bytes = \"4GiB\"\norgs = [\"lab-b\"]\n\
             engines = [\"wasm\"]\nquota_core_seconds_per_day = 7200\n\
             quotas = [{ org = \"lab-b\", core_seconds_per_day = 0 }]\n\
             [offer.hardware]\ncores = 2\ngpu_memory_bytes = 0\n\
             [offer.limits]\nscoring_ms = 1000\n",
        )
        .unwrap();
        let offer = whole.offer.clone().unwrap();
        assert_eq!((offer.memory_bytes, offer.limits.scoring_ms), (4 << 30, 1000));
        let written = toml::to_string_pretty(&whole).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), whole, "{written}");
    }

    #[test]
    fn a_mistake_in_an_offer_is_named() {
        let long = "[offer]\nslots = 1\n";
        for (text, expected) in [
            (format!("{long}core = 2\n"), "unknown field `core`"),
            ("[offer]\ncores = 2\n".to_owned(), "missing field `slots`"),
            (format!("{long}[offer.limits]\nscoring = 2\n"), "unknown field `scoring`"),
            (format!("{long}[offer.limits]\ntotal_ms = 0\n"), "with the limit total_ms = 0"),
            (format!("{long}memory_bytes = \"lots\"\n"), "memory_bytes"),
            (format!("{long}memory_bytes = 1024\n"), "all together have 1024"),
            ("[offer]\nslots = 5000\n".to_owned(), "at most 1024 slots"),
        ] {
            let said = config(&text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
