//! The contents of a slot's boot partition, and whether the CM4's EEPROM would boot it.
//!
//! - [`firmware`] from the package raspi-firmware · [`kernel`] kernel and device trees · [`devicetree`] what is changed in them ·
//!   [`modules`] their load order · [`drivers`] whether they drive the board ·
//!   [`module_firmware`] what they ask for
//! - [`initramfs`] · [`files`] config.txt and cmdline.txt · [`eeprom`] the checks

pub mod devicetree;
pub mod drivers;
pub mod eeprom;
pub mod files;
pub mod firmware;
pub mod initramfs;
pub mod kconfig;
pub mod kernel;
pub mod module_firmware;
pub mod modules;
