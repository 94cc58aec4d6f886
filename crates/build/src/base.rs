//! `trimtab/static`: the base image that the binary carries.

use crate::error::Error;
use crate::files::{Entry, Kind};
use crate::image::{Empty, Image};
use crate::images::{Images, NewLayer, Root};
use std::io;
use std::path::Path;

/// Its name. Nothing is ever pulled under it.
pub(crate) const NAME: &str = "trimtab/static";
/// Serves the files below /srv on port 8080; `/_echo` returns the request.
static SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/static-server"));

/// The image, in the store. Blocks.
pub(crate) fn image(images: &Images) -> Result<(Image, Root), Error> {
    let mut layer = images.new_layer()?;
    fill(&mut layer).map_err(|source| Error::Work { path: format!("the layer of {NAME}"), source })?;
    let layer = images.finish(layer)?.expect("it has entries");
    let mut image = Image::scratch();
    image.config.entrypoint = Some(vec!["/bin/static-server".into()]);
    image.config.exposed_ports.get_or_insert_default().insert("8080/tcp".into(), Empty {});
    image.config.working_dir = "/srv".into();
    image.record(NAME, Some(layer.diff_id()));
    Ok((image, Root { layers: vec![layer] }))
}

fn fill(layer: &mut NewLayer) -> io::Result<()> {
    let server = Entry { kind: Kind::File { size: SERVER.len() as u64 }, ..Entry::directory(0o755) };
    layer.put(Path::new("bin"), &Entry::directory(0o755), &mut io::empty())?;
    layer.put(Path::new("bin/static-server"), &server, &mut &SERVER[..])?;
    layer.put(Path::new("srv"), &Entry::directory(0o755), &mut io::empty())
}

#[cfg(test)]
mod tests;
