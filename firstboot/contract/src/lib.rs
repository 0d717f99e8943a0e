//! What the builder and the node agree on. Every number, name and format that both sides need has its one home here.
//!
//! - [`layout`] where things are on the disk · [`autoboot`] which slot boots · [`names`] files, kernel options, ports
//! - [`hash`] digests · [`tree`] the hash tree over blocks · [`manifest`] what a slot holds · [`keys`] who signed it ·
//!   [`trailer`] both, as stored at the end of a root partition · [`bundle`] a slot as an update file · [`update`] what a
//!   node says of its updates
//! - [`error`] errors in words · [`certificates`] whom programs trust · [`text`] what of foreign text may reach a terminal · [`plain_name`] names that can stand anywhere · [`initramfs`] what the initramfs is told and what it reports · [`installer`] what is asked of the installer · [`role`] what the system half is told ·
//!   [`health`] how healthy a node is · [`node`] what the operator says of one node · [`template`] files rendered from it, [`frr`] one of them divided ·
//!   [`control`] what an operator may ask of PID 1 · [`secret`] values that nobody is shown · [`storage`] what a node says
//!   of its disks · [`board`] what it says of its board · [`network`] what the network says of itself · [`calendar`] times in text · [`content_range`] parts of files over HTTP · [`per_source`] few connections from each address · `schema` JSON Schemas of some of it

pub mod autoboot;
pub mod blank;
pub mod board;
pub mod bundle;
pub mod calendar;
pub mod certificates;
mod checked_name;
pub mod content_range;
pub mod control;
pub mod error;
pub mod frr;
pub mod hash;
pub mod health;
pub mod initramfs;
pub mod installer;
pub mod keys;
pub mod layout;
pub mod manifest;
pub mod names;
pub mod network;
pub mod node;
pub mod per_source;
pub mod plain_name;
pub mod role;
#[cfg(feature = "schema")]
pub mod schema;
pub mod secret;
pub mod signatures;
pub mod storage;
pub mod template;
pub mod text;
pub mod trailer;
pub mod tree;
pub mod update;
pub mod var;
mod words;
