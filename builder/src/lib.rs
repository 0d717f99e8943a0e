//! microdc, the builder: a profile and overlays in, a signed A/B image out.
//!
//! Data flows one way: [`profile`] → [`resolve`] → [`lock`] → [`source`] (fetch, through the [`cache`]) → [`tree`] →
//! [`format`] and [`boot`] → [`slot`] → [`image`] → [`bundle`]. [`pipeline`] runs the stages of a build, [`report`] shows
//! them, `cli` is the command line. No stage starts a program except [`node_program`], which compiles firstboot.
//!
//! Beside the pipeline: [`inventory`] says in each image what it is made of, [`open`] opens images for inspection,
//! [`diff`] compares them, [`sbom`] lists what is in them, [`audit`] looks for known vulnerabilities in them, [`verify`]
//! checks images, [`flash`] writes them onto disks, [`installer`] is what boards boot by network to install themselves, [`signing`] signs them where the private key is, [`serve`] serves
//! bundles and images to nodes. For users: [`scaffold`] creates profiles, [`schema`] describes files, [`doctor`] checks
//! the machine, [`node_check`] compares node configs with profiles, [`scripts`] reads what maintainer scripts would do,
//! [`gitignore`] keeps private keys out of git. [`foreign`] lists every parser of untrusted bytes.

pub mod audit;
pub mod boot;
pub mod bundle;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod diff;
pub mod doctor;
pub mod flash;
pub mod foreign;
pub mod format;
pub mod gitignore;
pub mod image;
pub mod installer;
pub mod inventory;
pub mod lock;
pub mod node_check;
pub mod node_program;
pub mod open;
pub mod pipeline;
pub mod profile;
pub mod release_key;
pub mod report;
pub mod resolve;
pub mod sbom;
pub mod scaffold;
pub mod schema;
pub mod scripts;
pub mod serve;
pub mod signing;
pub mod slot;
pub mod source;
pub mod tree;
pub mod unfinished;
pub mod verify;
