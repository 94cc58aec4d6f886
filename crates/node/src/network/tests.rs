//! The network on this machine. Everything is made under an instance name of its own, and gone afterwards.

use super::*;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    links: BTreeSet<String>,
    mounts: BTreeSet<String>,
    forwarding: bool,
}

impl Traces {
    fn now(data: &Path, instance: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        let links = std::fs::read_dir("/sys/class/net").unwrap();
        let mounts = read("/proc/self/mountinfo");
        Self {
            links: links
                .map(|l| l.unwrap().file_name().into_string().unwrap())
                .filter(|l| l.contains(instance))
                .collect(),
            mounts: mounts.lines().filter(|l| l.contains(data.to_str().unwrap())).map(str::to_owned).collect(),
            // Another instance may need it.
            forwarding: another_instance().unwrap() || read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        }
    }
}

/// Listens inside a Pod's namespace and answers one connection.
fn serve_inside(netns: &Path, address: Ipv4Addr) -> std::net::SocketAddr {
    let (sender, receiver) = mpsc::channel();
    let netns = netns.to_owned();
    std::thread::spawn(move || {
        let file = File::open(netns).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        sender.send(listener.local_addr().unwrap()).unwrap();
        let (mut stream, peer) = listener.accept().unwrap();
        write!(stream, "{}", peer.ip()).unwrap();
    });
    receiver.recv().unwrap()
}

fn ask(at: std::net::SocketAddr) -> String {
    let mut answer = String::new();
    TcpStream::connect(at).unwrap().read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: makes links and network namespaces"]
async fn pods_are_reached_found_again_and_leave_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path().to_owned());
    let instance = format!("{:08x}", std::process::id());
    let before = Traces::now(directory.path(), &instance);

    let network = Network::open(layout.clone(), &instance).await.unwrap();
    let (a, b) = tokio::join!(network.attach("pod-a"), network.attach("pod-b"));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a, b);
    let at = serve_inside(&layout.netns("pod-a"), a);
    assert_eq!(ask(at), network.gateway().to_string(), "the host is seen as the gateway");

    // From Pod to Pod.
    let at = serve_inside(&layout.netns("pod-b"), b);
    let inside = layout.netns("pod-a");
    let answer = std::thread::spawn(move || {
        move_into_link_name_space(File::open(inside).unwrap().as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        ask(at)
    });
    assert_eq!(answer.join().unwrap(), a.to_string());
    drop(network);

    // A new process finds everything, keeps addresses and removes what is nobody's.
    let again = Network::open(layout.clone(), &instance).await.unwrap();
    assert_eq!(again.find("pod-a").await, Some(a));
    assert_eq!(again.attach("pod-b").await.unwrap(), b);
    again.retain(&HashSet::from(["pod-a".to_owned()])).await.unwrap();
    assert_eq!(again.find("pod-b").await, None);
    assert_eq!(ask(serve_inside(&layout.netns("pod-a"), a)), again.gateway().to_string());

    again.detach("pod-a").await.unwrap();
    again.detach("pod-a").await.unwrap();
    assert_eq!(layout::list(&layout.netns_directory()).unwrap().len(), 0);
    let c = again.attach("pod-c").await.unwrap();
    assert!(c != a && c != b, "addresses rest");
    drop(again);
    remove(&layout, &instance).await.unwrap();
    remove(&layout, &instance).await.unwrap();
    assert_eq!(Traces::now(directory.path(), &instance), before);
    let record = Record::read(&layout.network_record()).unwrap().unwrap();
    assert!(record.leases.is_empty() && IpAddr::V4(record.subnet).is_ipv4());
}
