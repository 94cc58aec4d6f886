//! Images from Dockerfiles, without any tool installed.
mod dockerfile;
mod files;
