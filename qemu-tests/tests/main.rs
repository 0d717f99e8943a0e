//! All boot tests as one program, so that several nodes run at any time and no core waits for the last test of a file.
//! `qemu-tests/run TEXT` runs those whose name holds the text: `qemu-tests/run trial::`. Those in a module `long` take
//! long, and hold more of what a shorter test holds already: `qemu-tests/run --long` runs them too.

mod boot;
mod claim;
mod confinement;
mod containers;
mod damage;
mod dependencies;
mod fleet;
mod home_router;
mod installer;
mod k3s;
mod long;
mod metrics;
mod minio;
mod network;
mod nodeconfig;
mod parts;
mod pid1;
mod powercut;
mod powercut_update;
mod raspi4b;
mod routers;
mod services;
mod ssh;
mod state;
mod system_disks;
mod time;
mod tinkerbell;
mod trial;
mod trial_choice;
mod update;
mod vip;
