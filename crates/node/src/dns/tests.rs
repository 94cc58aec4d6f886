//! Questions and answers as they go over the wire, without a wire.

use super::*;
use crate::network::Net;
use crate::services::tests::{service, slice};
use kube::runtime::watcher::Event;
use serde_json::json;

const POD: &str = "10.20.1.9:5353";

fn resolver() -> Resolver {
    let networks = Networks {
        pods: Net { address: Ipv4Addr::new(10, 20, 1, 0), prefix: 24 },
        services: Net { address: Ipv4Addr::new(10, 30, 16, 0), prefix: 20 },
    };
    let own = Ipv4Addr::new(10, 20, 1, 1);
    let mut catalog = crate::services::Catalog::default();
    catalog.take_service(Event::Apply(service("api", json!({"clusterIP": "10.30.16.7"}))));
    catalog.take_service(Event::Apply(service("big", json!({"clusterIP": "None"}))));
    let endpoints: Vec<_> = (1..=60).map(|n| json!({"addresses": [format!("10.20.1.{n}")]})).collect();
    catalog.take_slice(Event::Apply(slice("big-1", "big", json!([]), endpoints.into())));
    let services = Arc::new(Services::holding(catalog));
    Resolver { services, networks, own, forwarder: Forwarder::new("/does/not/exist".into(), own) }
}

fn question(name: &str, payload: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

async fn ask(message: &Message, stream: bool) -> Message {
    let answer = resolver().respond(&message.to_vec().unwrap(), POD.parse().unwrap(), stream).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn answers_say_what_there_is_and_for_how_long_there_is_nothing() {
    for (name, code, records) in [
        ("api.shop.svc.cluster.local.", ResponseCode::NoError, 1),
        ("none.shop.svc.cluster.local.", ResponseCode::NXDomain, 0),
        ("shop.svc.cluster.local.", ResponseCode::NoError, 0),
    ] {
        let asked = question(name, None);
        let answer = ask(&asked, false).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, records), "{name}");
        assert_eq!((answer.metadata.id, &answer.queries), (asked.metadata.id, &asked.queries));
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        let soa = answer.authorities.iter().filter(|r| r.record_type() == RecordType::SOA).count();
        assert_eq!(soa, usize::from(records == 0), "{name}");
        assert!(answer.answers.iter().all(|record| record.ttl == 5));
    }
    // The host's resolvers cannot be asked.
    let failed = ask(&question("example.com.", None), false).await;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_is_cut_and_whole_over_tcp() {
    for (payload, stream, whole) in [(None, false, false), (Some(4096), false, true), (None, true, true)] {
        let answer = ask(&question("big.shop.svc.cluster.local.", payload), stream).await;
        assert_eq!((answer.metadata.truncation, answer.answers.len()), (!whole, if whole { 60 } else { 0 }));
    }
}

#[tokio::test]
async fn nonsense_and_strangers_get_no_answer() {
    let resolver = resolver();
    let good = question("api.shop.svc.cluster.local.", None).to_vec().unwrap();
    let pod: SocketAddr = POD.parse().unwrap();
    assert!(resolver.respond(&good, "192.0.2.9:53".parse().unwrap(), false).await.is_none(), "a stranger");
    assert!(resolver.respond(&good[..5], pod, false).await.is_none(), "less than a header");
    let mut cut = good.clone();
    cut.truncate(20);
    let answer = Message::from_vec(&resolver.respond(&cut, pod, false).await.unwrap()).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    let mut answered = good.clone();
    answered[2] |= 0x80;
    assert!(resolver.respond(&answered, pod, false).await.is_none(), "an answer");
    // Any byte may be wrong: nothing panics.
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut odd = good.clone();
            odd[at] ^= flip;
            let _ = resolver.respond(&odd, pod, false).await;
        }
    }
}
