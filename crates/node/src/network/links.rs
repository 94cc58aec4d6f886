//! Links, addresses and routes through netlink.

use super::record::Net;
use crate::error::Error;
use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteScope};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

/// The name of the one link that a Pod has beside loopback.
const POD_LINK: &str = "eth0";

/// The kernel's number if it gave one.
fn io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn failed(what: String) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |error| Error::Network { what, source: io(error) }
}

/// Index of a link, if it exists.
pub(super) async fn find(handle: &Handle, name: &str) -> Result<Option<u32>, Error> {
    let found = handle.link().get().match_name(name).execute().try_next().await;
    match found.map_err(io) {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(e) if e.raw_os_error() == Some(ENODEV) => Ok(None),
        Err(source) => Err(Error::Network { what: format!("looking for link {name}"), source }),
    }
}

const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
const EEXIST: i32 = rustix::io::Errno::EXIST.raw_os_error();

/// Makes a bridge with this address, or completes one that exists. Returns its index.
pub(super) async fn ensure_bridge(handle: &Handle, name: &str, gateway: Ipv4Addr) -> Result<u32, Error> {
    if find(handle, name).await?.is_none() {
        let what = format!("adding bridge {name}");
        handle.link().add(LinkBridge::new(name).build()).execute().await.map_err(failed(what))?;
    }
    let index = require(handle, name).await?;
    set_address(handle, index, gateway).await?;
    up(handle, index, name).await?;
    Ok(index)
}

/// Makes a pair of links: one end is a port of the bridge, the other is `eth0` in the namespace.
pub(super) async fn add_pair(handle: &Handle, name: &str, bridge: u32, namespace: RawFd) -> Result<(), Error> {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(POD_LINK.to_owned()));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace));
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .controller(bridge)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    handle.link().add(pair).execute().await.map_err(failed(format!("adding link {name}")))?;
    // A Pod may reach itself through a Service: then a frame leaves by the port that it came from.
    if let Err(error) = std::fs::write(format!("/sys/class/net/{name}/brport/hairpin_mode"), "1") {
        tracing::info!(link = name, %error, "the Pod does not reach itself through a Service");
    }
    Ok(())
}

/// Inside a Pod's namespace: loopback, its address, the way out.
pub(super) async fn configure_pod(inside: &Handle, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), Error> {
    let loopback = require(inside, "lo").await?;
    up(inside, loopback, "lo").await?;
    let index = require(inside, POD_LINK).await?;
    set_address(inside, index, address).await?;
    up(inside, index, POD_LINK).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    inside.route().add(route).replace().execute().await.map_err(failed(format!("routing through {gateway}")))
}

/// Lets packets for a network end at a link, and those from this machine carry its address.
pub(super) async fn ensure_route(handle: &Handle, link: u32, to: Net, source: Ipv4Addr) -> Result<(), Error> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.address, to.prefix)
        .output_interface(link)
        .pref_source(source)
        .scope(RouteScope::Link)
        .build();
    let what = format!("routing {}/{} to the bridge", to.address, to.prefix);
    handle.route().add(route).replace().execute().await.map_err(failed(what))
}

/// Removes a link; none is fine.
pub(super) async fn remove(handle: &Handle, name: &str) -> Result<(), Error> {
    let Some(index) = find(handle, name).await? else { return Ok(()) };
    match handle.link().del(index).execute().await.map_err(io) {
        Err(source) if source.raw_os_error() != Some(ENODEV) => {
            Err(Error::Network { what: format!("removing link {name}"), source })
        }
        _ => Ok(()),
    }
}

/// Names of the links that are ports of a bridge.
pub(super) async fn ports(handle: &Handle, bridge: u32) -> Result<Vec<String>, Error> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(failed("listing links".into()))?;
    let of_bridge = links.into_iter().filter(|l| l.attributes.contains(&LinkAttribute::Controller(bridge)));
    Ok(of_bridge.filter_map(|l| name_of(&l)).collect())
}

/// Networks that this machine routes to or has addresses in.
pub(super) async fn networks(handle: &Handle) -> Result<Vec<Net>, Error> {
    let mut found = Vec::new();
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = std::pin::pin!(handle.route().get(all).execute());
    while let Some(route) = routes.try_next().await.map_err(failed("listing routes".into()))? {
        let prefix = route.header.destination_prefix_length;
        found.extend(route.attributes.iter().filter_map(|a| match a {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(Net { address: *address, prefix }),
            _ => None,
        }));
    }
    let mut addresses = std::pin::pin!(handle.address().get().execute());
    while let Some(address) = addresses.try_next().await.map_err(failed("listing addresses".into()))? {
        let prefix = address.header.prefix_len;
        found.extend(address.attributes.iter().filter_map(|a| match a {
            AddressAttribute::Address(IpAddr::V4(address)) => Some(Net { address: *address, prefix }),
            _ => None,
        }));
    }
    Ok(found)
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

async fn require(handle: &Handle, name: &str) -> Result<u32, Error> {
    let missing = || Error::Network { what: format!("link {name} is missing"), source: io::ErrorKind::NotFound.into() };
    find(handle, name).await?.ok_or_else(missing)
}

async fn up(handle: &Handle, index: u32, name: &str) -> Result<(), Error> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await.map_err(failed(format!("setting link {name} up")))
}

/// Gives a link an address of a /24; it may have it already.
async fn set_address(handle: &Handle, index: u32, address: Ipv4Addr) -> Result<(), Error> {
    match handle.address().add(index, IpAddr::V4(address), 24).execute().await.map_err(io) {
        Err(source) if source.raw_os_error() != Some(EEXIST) => {
            Err(Error::Network { what: format!("adding address {address}"), source })
        }
        _ => Ok(()),
    }
}
