//! Arbitrary values survive being written and read, and what must hold for all of them.

mod common;

use guildhall_protocol::body::{
    AccuracyClaim, Claims, HardwareOffer, LatencyClaim, Listing, NodeBody, OrgQuota, Release,
    Suggested, Visibility,
};
use guildhall_protocol::cbor::{check_form, decode, decode_exact, encode};
use guildhall_protocol::contract::{
    Contract, Determinism, Hardware, Import, LimitSet, Limits, NodeLimits, Party,
};
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, JsonType, LocationKind, MediaTypes, Port, PortType,
    PredictionKind, PredictionType, TableType, TensorType, fits,
};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Kind, Manifest, PortFile, UnitTest};
use guildhall_protocol::name::{
    Category, CategoryPrefix, FileName, OrgName, PackageName, Reference, Version,
};
use guildhall_protocol::query::{Query, TypeQuery};
use guildhall_protocol::wire::{
    Cells, Compare, CompareKey, CompareSet, FindElements, HEADS_PER_PAGE, Invite, LogHead, Request,
    Response,
};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, RecordId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_bytes::ByteBuf;

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    pattern: &'static str,
) -> impl Strategy<Value = T> {
    pattern.prop_map(|text| text.parse().expect("the pattern follows the rule"))
}

fn org() -> impl Strategy<Value = OrgName> {
    parsed("[a-z]{2}-[a-z0-9]{1,6}")
}

fn package_name() -> impl Strategy<Value = PackageName> {
    parsed("[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])[a-z0-9]")
}

fn version() -> impl Strategy<Value = Version> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, "(-[a-z][a-z0-9]{0,5}(\\.[1-9][0-9]{0,3})?)?", "(\\+[0-9A-Za-z-]{1,8})?").prop_map(
        |((major, minor, patch), pre, build)| {
            format!("{major}.{minor}.{patch}{pre}{build}").parse().expect("semver")
        },
    )
}

fn reference() -> impl Strategy<Value = Reference> {
    prop_oneof![
        (org(), package_name(), option::of(version()))
            .prop_map(|(org, name, version)| Reference::Named { org, name, version }),
        hash().prop_map(|hash| Reference::Package(PackageId(hash))),
    ]
}

fn category() -> impl Strategy<Value = Category> {
    parsed("[a-z0-9]{1,8}(/[a-z0-9](-?[a-z0-9]){0,4}){1,3}")
}

fn prefix() -> impl Strategy<Value = CategoryPrefix> {
    parsed("\\*|[a-z]{1,8}(/[a-z]{1,8}){0,3}")
}

fn file_name() -> impl Strategy<Value = FileName> {
    // Letters of several scripts, spaces and joiners: the rule forbids little.
    parsed("[a-zA-Zäжあ _~$%-]{1,12}(/[a-z0-9.]{1,5}x){0,3}")
}

/// Few different types, so that two of them fit often.
fn port_type() -> impl Strategy<Value = PortType> {
    let media = || {
        vec(select(std::vec!["image/png", "image/jpeg", "x/y"]), 0..3).prop_map(|types| {
            MediaTypes { media_types: types.into_iter().map(str::to_owned).collect() }
        })
    };
    let dim = prop_oneof![
        (1_u64..4).prop_map(Dim::Fixed),
        select(std::vec!["n", "m"]).prop_map(|name| Dim::Named(name.into())),
        Just(Dim::Free),
    ];
    let dtype = || select(std::vec![ElementType::F32, ElementType::U8]);
    let column = (select(std::vec!["a", "b"]), dtype())
        .prop_map(|(name, dtype)| Column { name: name.into(), dtype });
    let label = select(std::vec!["0", "1"]).prop_map(str::to_owned);
    prop_oneof![
        (dtype(), vec(dim, 0..3))
            .prop_map(|(dtype, dims)| PortType::Tensor(TensorType { dtype, dims })),
        vec(column, 0..3).prop_map(|columns| PortType::Table(TableType { columns })),
        Just(PortType::Text),
        media().prop_map(PortType::Image),
        media().prop_map(PortType::Audio),
        media().prop_map(PortType::Video),
        media().prop_map(PortType::Bytes),
        option::of(select(std::vec!["{}", "true"]))
            .prop_map(|s| PortType::Json(JsonType { schema: s.map(str::to_owned) })),
        (
            select(std::vec![PredictionKind::Class, PredictionKind::Number]),
            vec(label, 0..2),
            option::of(location()),
        )
            .prop_map(|(value, labels, location)| {
                PortType::Prediction(PredictionType { value, labels, location })
            }),
    ]
}

fn location() -> impl Strategy<Value = LocationKind> {
    select(std::vec![LocationKind::Box, LocationKind::TextWindow, LocationKind::FrameIndices])
}

fn interface() -> impl Strategy<Value = Interface> {
    let port = |name: String| {
        (port_type(), any::<bool>(), option::of(location())).prop_map(
            move |(port_type, optional, location)| Port {
                name: name.clone(),
                port_type,
                optional,
                location,
            },
        )
    };
    let side =
        move |count: usize| (0..count).map(|n| port(format!("port-{n}"))).collect::<Vec<_>>();
    (0_usize..3, 0_usize..3)
        .prop_flat_map(move |(inputs, outputs)| (side(inputs), side(outputs)))
        .prop_map(|(inputs, outputs)| Interface { inputs, outputs })
}

fn hardware() -> impl Strategy<Value = Hardware> {
    (any::<u32>(), any::<u64>())
        .prop_map(|(cores, gpu_memory_bytes)| Hardware { cores, gpu_memory_bytes })
}

fn contract() -> impl Strategy<Value = Contract> {
    let imports = select(std::vec![Import::Arguments, Import::PackageFiles, Import::WasiNn]);
    let numbers = (1..u64::MAX, 1..u64::MAX, any::<u64>(), 1..u64::MAX, 1..u32::MAX);
    let determinism =
        select(std::vec![Determinism::Bitwise, Determinism::Numeric, Determinism::None]);
    (numbers, ".{0,20}", vec(imports, 0..3), hardware(), determinism).prop_map(
        |(numbers, measured_on, imports, hardware, determinism)| Contract {
            scoring_ms: numbers.0,
            measured_on,
            memory_bytes: numbers.1,
            scratch_bytes: numbers.2,
            output_bytes: numbers.3,
            batch_max: numbers.4,
            total_ms: None,
            queue_ms: None,
            imports,
            hardware,
            determinism,
        },
    )
}

/// Any manifest without code: files in order of name, unit tests of ports that exist.
fn manifest() -> impl Strategy<Value = Manifest> {
    let entry = (any::<u64>(), hash(), ".{0,20}");
    let files = proptest::collection::btree_map(file_name(), entry, 1..6).prop_map(|mut files| {
        // No file is the folder of another.
        let names: Vec<FileName> = files.keys().cloned().collect();
        files.retain(|name, _| {
            let folder = format!("{name}/");
            !names.iter().any(|other| other.as_str().starts_with(&folder))
        });
        let entry =
            |(name, (len_bytes, hash, media_type))| FileEntry { name, len_bytes, hash, media_type };
        files.into_iter().map(entry).collect::<Vec<_>>()
    });
    let rest = (vec(hash().prop_map(PackageId), 0..4), ".{0,20}", any::<bool>(), 0.0_f64..1e9);
    (files, interface(), option::of(contract()), rest).prop_map(
        |(files, interface, contract, (dependencies, licence, sensitive, tolerance))| {
            let port_file =
                |port: &Port| PortFile { port: port.name.clone(), file: files[0].name.clone() };
            Manifest {
                format: 1,
                kind: Kind::Model,
                tests: std::vec![UnitTest {
                    name: "one".into(),
                    inputs: interface.inputs.iter().map(port_file).collect(),
                    outputs: interface.outputs.iter().map(port_file).collect(),
                    tolerance,
                }],
                files,
                interface,
                contract,
                code: None,
                records: None,
                stages: Vec::new(),
                dependencies,
                licence,
                sensitive,
            }
        },
    )
}

fn release() -> impl Strategy<Value = Release> {
    (package_name(), version(), hash()).prop_map(|(name, version, hash)| Release {
        name,
        version,
        package: PackageId(hash),
    })
}

fn claims() -> impl Strategy<Value = Claims> {
    let accuracy = (0.0_f64..=1.0, ".{0,9}").prop_map(|(value, dataset)| AccuracyClaim {
        metric: "f1".into(),
        dataset,
        value,
    });
    let latency =
        (0.0_f64..1e6, ".{0,9}").prop_map(|(p50_ms, hardware)| LatencyClaim { p50_ms, hardware });
    (vec(accuracy, 0..3), vec(latency, 0..3))
        .prop_map(|(accuracy, latency)| Claims { accuracy, latency })
}

fn listing() -> impl Strategy<Value = Listing> {
    let what = (release(), select(Kind::ALL.to_vec()), vec(category(), 1..4), interface());
    let said = (claims(), ".{0,40}", vec(".{0,9}", 0..4), option::of(contract()));
    let rest = (
        (hardware(), any::<u64>(), vec(reference(), 0..3)),
        vec(hash().prop_map(PackageId), 0..3),
        option::of(file_name()),
        select(std::vec![Visibility::Public, Visibility::Federation, Visibility::Org]),
        (any::<u64>(), any::<u8>(), hash()),
    );
    (what, said, rest).prop_map(|(what, said, rest)| Listing {
        federation: FederationId(rest.4.2),
        release: what.0,
        kind: what.1,
        categories: what.2,
        summary: said.1,
        keywords: said.2,
        interface: what.3,
        engines: std::vec!["wasm".into()],
        contract: said.3,
        len_bytes: rest.4.0,
        claims: said.0,
        suggested: Suggested { hardware: rest.0.0, memory_bytes: rest.0.1, data: rest.0.2 },
        uses: rest.1,
        examples: rest.2.iter().cloned().collect(),
        documentation: rest.2,
        licence: "unknown".into(),
        visibility: rest.3,
        replicas: rest.4.1,
    })
}

fn node_limits() -> impl Strategy<Value = NodeLimits> {
    any::<[u64; 6]>().prop_map(
        |[scoring_ms, total_ms, memory_bytes, output_bytes, batch_max, queue_ms]| NodeLimits {
            scoring_ms,
            total_ms,
            memory_bytes,
            output_bytes,
            batch_max,
            queue_ms,
        },
    )
}

fn limit_set() -> impl Strategy<Value = LimitSet> {
    any::<[Option<u64>; 6]>().prop_map(
        |[scoring_ms, total_ms, memory_bytes, output_bytes, batch_max, queue_ms]| LimitSet {
            scoring_ms,
            total_ms,
            memory_bytes,
            output_bytes,
            batch_max,
            queue_ms,
        },
    )
}

fn node() -> impl Strategy<Value = NodeBody> {
    let quota = (org(), any::<u64>())
        .prop_map(|(org, core_seconds_per_day)| OrgQuota { org, core_seconds_per_day });
    let whole = (any::<u32>(), any::<u64>(), vec(".{0,9}", 0..3), any::<u64>(), vec(quota, 0..3));
    let offer = (any::<u32>(), hardware(), node_limits(), vec(org(), 0..3), whole).prop_map(
        |(slots, hardware, limits, orgs, whole)| {
            let (cores, memory_bytes, engines, quota_core_seconds_per_day, quotas) = whole;
            HardwareOffer {
                slots,
                hardware,
                limits,
                orgs,
                cores,
                memory_bytes,
                engines,
                quota_core_seconds_per_day,
                quotas,
            }
        },
    );
    (hash(), vec(".{0,30}", 0..4), vec(prefix(), 0..4), option::of(offer), any::<bool>()).prop_map(
        |(federation, words, follows, offer, draining)| NodeBody {
            federation: FederationId(federation),
            addresses: words.clone(),
            follows,
            engines: words.clone(),
            offer,
            isolation: words,
            draining,
            software: "guild".into(),
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let media = "(image|audio|video|model)/[a-z0-9]{1,8}|text|tensor|table|prediction\
                 |tensor\\(f32(, [1-9?n]){0,4}\\)|(image|json|text)\\(\\)";
    let port = move || {
        option::of(media.prop_map(|text: String| text.parse::<TypeQuery>().expect("a type")))
    };
    let numbers = (option::of(any::<u64>()), option::of(0.0_f64..1e9), option::of(0.0_f64..1.0));
    (
        option::of(".{0,40}"),
        option::of(select(Kind::ALL.to_vec())),
        option::of(prefix()),
        option::of(reference()),
        (port(), port()),
        (numbers, any::<u32>()),
    )
        .prop_map(|(text, kind, category, reference, (input, output), (numbers, limit))| {
            Query {
                text,
                kind,
                category,
                reference,
                input,
                output,
                max_latency_ms: numbers.1,
                min_accuracy: numbers.2,
                max_memory_bytes: numbers.0,
                limit: limit as usize,
                ..Query::default()
            }
        })
}

fn invite() -> impl Strategy<Value = Invite> {
    (any::<[[u8; 32]; 3]>(), ".{0,30}", org(), vec(".{0,60}", 0..4), any::<u64>()).prop_map(
        |([federation, admission, seed], name, org, addresses, expires_ms)| Invite {
            federation: FederationId(Hash::from_bytes(federation)),
            name,
            org,
            admission: RecordId(Hash::from_bytes(admission)),
            seed: Hash::from_bytes(seed),
            addresses,
            expires_ms,
        },
    )
}

/// Written, of the accepted form, exactly, and read back as the same.
fn survives<T>(value: &T) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(value);
    prop_assert_eq!(check_form(&bytes), Ok(()));
    prop_assert_eq!(&decode::<T>(&bytes, bytes.len())?, value);
    prop_assert_eq!(&decode_exact::<T>(&bytes, bytes.len())?, value);
    prop_assert!(decode::<T>(&bytes, bytes.len() - 1).is_err());
    Ok(())
}

/// The same by way of JSON, which the API speaks; only for what holds no floats, whose last bit JSON may lose.
fn survives_json<T>(value: &T) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string(value).expect("JSON");
    prop_assert_eq!(&serde_json::from_str::<T>(&json).expect("JSON"), value);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn manifests_survive(manifest in manifest()) {
        prop_assert_eq!(manifest.check(), Ok(()));
        survives(&manifest)?;
        let (id, bytes) = manifest.seal();
        prop_assert_eq!(Manifest::open(id, &bytes), Ok(manifest));
        prop_assert!(Manifest::open(PackageId(Hash::of(b"other")), &bytes).is_err());
    }

    #[test]
    fn bodies_survive(listing in listing(), node in node()) {
        survives(&listing)?;
        survives(&node)?;
        survives_json(&node)?;
    }

    #[test]
    fn queries_survive_and_keep_their_text_at_home(query in query()) {
        survives(&query)?;
        let facets = query.to_ask();
        prop_assert_eq!(&facets.text, &None);
        prop_assert!((1..=100).contains(&query.results()));
        let sent = encode(&Request::Query(Box::new(facets)));
        if let Some(text) = query.text.filter(|text| text.chars().count() > 12) {
            prop_assert!(!sent.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }

    #[test]
    fn messages_of_a_comparison_survive(
        key in any::<[u8; 32]>(),
        set in select(vec![CompareSet::Heads, CompareSet::Bodies]),
        (from, count) in any::<(u32, u32)>(),
        (bytes, probes) in (vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..200)),
    ) {
        let key = CompareKey::from_bytes(key);
        survives(&Request::Compare(Compare { set, key, from, count }))?;
        let short_ids = ByteBuf::from(bytes.clone());
        survives(&Request::FindElements(FindElements { set, key, short_ids }))?;
        let cells = ByteBuf::from(bytes.clone());
        survives(&Response::Cells(Cells { cells, probes: ByteBuf::from(probes) }))?;
        survives(&Response::Elements(ByteBuf::from(bytes)))?;
    }

    #[test]
    fn references_read_what_they_print(reference in reference()) {
        prop_assert_eq!(&reference.to_string().parse::<Reference>()?, &reference);
        survives(&reference)?;
        survives_json(&reference)?;
    }

    #[test]
    fn an_invite_is_read_as_it_was_written(invite in invite(), space in "[ \n\t]{0,3}") {
        let text = format!("{space}{}{space}", invite.to_text());
        prop_assert_eq!(&Invite::from_text(&text)?, &invite);
        prop_assert_eq!(Invite::from_text(&text.to_uppercase().replace("GUILD-INVITE", "guild-invite")), Ok(invite));
    }

    #[test]
    fn a_damaged_invite_is_refused(invite in invite(), at in any::<prop::sample::Index>(), letter in "[a-z2-7]") {
        let text = invite.to_text();
        let at = at.index(text.len());
        let mut wrong = text.clone();
        wrong.replace_range(at..=at, &letter);
        if wrong != text {
            prop_assert!(Invite::from_text(&wrong).is_err(), "letter {at}");
        }
        prop_assert!(Invite::from_text(&text[..at]).is_err(), "cut at {at}");
        let mut doubled = text.clone();
        doubled.insert_str(at, &text[at..=at]);
        prop_assert!(Invite::from_text(&doubled).is_err(), "doubled at {at}");
    }

    #[test]
    fn the_smallest_limit_is_in_force(producer in limit_set(), node in node_limits(), requester in limit_set()) {
        let limits = Limits::smallest(producer, node, requester);
        for (limit, producer, node, requester) in [
            (limits.scoring_ms, producer.scoring_ms, node.scoring_ms, requester.scoring_ms),
            (limits.total_ms, producer.total_ms, node.total_ms, requester.total_ms),
            (limits.memory_bytes, producer.memory_bytes, node.memory_bytes, requester.memory_bytes),
            (limits.output_bytes, producer.output_bytes, node.output_bytes, requester.output_bytes),
            (limits.batch_max, producer.batch_max, node.batch_max, requester.batch_max),
            (limits.queue_ms, producer.queue_ms, node.queue_ms, requester.queue_ms),
        ] {
            let asked = [producer, Some(node), requester];
            prop_assert_eq!(Some(limit.value), asked.into_iter().flatten().min());
            let first = asked.iter().position(|value| *value == Some(limit.value));
            let party = [Party::Producer, Party::Node, Party::Requester][first.expect("one of them")];
            prop_assert_eq!(limit.set_by, party, "the first who asked for it");
        }
    }

    #[test]
    fn every_port_fits_itself(port in port_type()) {
        prop_assert_eq!(fits(&port, &port), Ok(()));
        survives(&port)?;
        survives_json(&port)?;
    }

    #[test]
    fn random_bytes_are_no_message(bytes in vec(any::<u8>(), 0..200)) {
        // Nothing but the one request without content could be met by chance.
        let heads = encode(&Request::Heads { after: None });
        prop_assert!(decode::<Request>(&bytes, MESSAGE_MAX_BYTES).is_err() || bytes == heads);
    }

    #[test]
    fn a_page_of_heads_fits_a_message(len in any::<u64>(), key in any::<[u8; 32]>()) {
        let head = LogHead { author: PublicKey::from_bytes(key), len };
        let page = Response::Heads(vec![head; HEADS_PER_PAGE]);
        prop_assert!(encode(&page).len() < MESSAGE_MAX_BYTES / 2);
    }
}

/// Fitting passes on: all triples of a sample, so that enough of them fit.
#[test]
fn what_fits_through_a_middle_fits_directly() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let types: Vec<PortType> =
        (0..160).map(|_| port_type().new_tree(&mut runner).expect("a type").current()).collect();
    let mut seen = 0;
    for from in &types {
        for middle in types.iter().filter(|middle| *middle != from && fits(from, middle).is_ok()) {
            for to in types.iter().filter(|to| *to != middle && fits(middle, to).is_ok()) {
                assert_eq!(fits(from, to), Ok(()), "{from} to {middle} to {to}");
                seen += 1;
            }
        }
    }
    assert!(seen > 500, "{seen}");
}
