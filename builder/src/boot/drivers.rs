//! Which kernel modules drive the devices in the shipped device trees, and whether an image contains them. A board
//! without a driver still boots, but may stay at its lowest clock speed or have the wrong time.
//!
//! A device identifies itself by `compatible`; a module lists the devices it drives in its aliases
//! (`of:N*T*Cbrcm,bcm2711-thermal`).

use super::modules::{ModuleError, Modules};
use emulator::devicetree::Enabled;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Modules that no image needs, each with the reason.
const OMITTED: [(&str, &str); 6] = [
    ("hci_uart", "a node has no Bluetooth"),
    ("v3d", "nothing on a node draws in three dimensions"),
    ("vc4", "the display is a part of its own"),
    ("pwm_bcm2835", "it serves the analogue sound of a Pi 4B"),
    ("vchiq", "a node has neither a camera nor sound"),
    ("leds_gpio", "the firmware's own lights are enough"),
];

/// Modules without an alias of a device, by the device whose driver asks for them.
const ASKED_FOR: [(&str, &[&str]); 1] = [("raspberrypi,firmware-clocks", &["raspberrypi_cpufreq", "cpufreq_dt"])];

/// What a kernel can drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drivers {
    /// Devices that the kernel itself drives, by `compatible`.
    pub builtin: BTreeSet<String>,
    /// Modules by the devices that they drive.
    pub modules: BTreeMap<String, BTreeSet<String>>,
}

/// A device without its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Path of its node.
    pub node: String,
    /// Any of these drives it.
    pub modules: BTreeSet<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let modules: Vec<String> = self.modules.iter().map(|name| format!("{name:?}")).collect();
        write!(f, "{} needs {}", self.node, modules.join(" or "))
    }
}

impl Drivers {
    /// Reads what a kernel's modules say of themselves.
    ///
    /// # Errors
    /// When a module is damaged.
    pub fn of(modules: &Modules<'_>) -> Result<Drivers, ModuleError> {
        let builtin = modules.builtin_aliases()?;
        let builtin = builtin.iter().filter_map(|alias| compatible(alias)).collect();
        let mut drivers = Drivers { builtin, modules: BTreeMap::new() };
        for (module, alias) in modules.device_aliases()? {
            if let Some(device) = compatible(&alias) {
                drivers.modules.entry(device).or_default().insert(module);
            }
        }
        for (device, names) in ASKED_FOR {
            let asked = names.iter().filter(|name| modules.has(name)).map(|name| (*name).to_owned());
            drivers.modules.insert(format!("{} asks for", spelled(device)), asked.collect());
        }
        Ok(drivers)
    }

    /// Devices that a module drives which is neither shipped nor omitted on purpose.
    #[must_use]
    pub fn missing(&self, devices: &[Enabled], shipped: &BTreeSet<&str>) -> Vec<Missing> {
        let mut missing = Vec::new();
        for device in devices {
            let names = || device.compatible.iter().map(|name| spelled(name));
            if !names().any(|name| self.builtin.contains(&name)) {
                let drives: BTreeSet<String> =
                    names().filter_map(|name| self.modules.get(&name)).flatten().cloned().collect();
                let there = |name: &String| shipped.contains(name.as_str()) || omitted(name);
                if !drives.is_empty() && !drives.iter().any(there) {
                    missing.push(Missing { node: device.path.clone(), modules: drives });
                }
            }
            // Each of these, not any.
            let asked = names().filter_map(|name| self.modules.get(&format!("{name} asks for"))).flatten();
            for module in asked.filter(|name| !shipped.contains(name.as_str())) {
                missing.push(Missing { node: device.path.clone(), modules: BTreeSet::from([module.clone()]) });
            }
        }
        missing
    }
}

fn omitted(module: &str) -> bool {
    OMITTED.iter().any(|(name, _)| *name == module)
}

/// As aliases are kept here: with `_` for `-`.
fn spelled(device: &str) -> String {
    device.replace('-', "_")
}

/// The device of an alias: `of:N<name>T<type>C<compatible>`, with more behind it or not.
fn compatible(alias: &str) -> Option<String> {
    let (_, rest) = alias.strip_prefix("of:N")?.split_once('T')?;
    let (_, device) = rest.split_once('C')?;
    Some(spelled(device.strip_suffix("C*").unwrap_or(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, compatible: &[&str]) -> Enabled {
        Enabled { path: path.to_owned(), compatible: compatible.iter().map(|&name| name.to_owned()).collect() }
    }

    fn drivers() -> Drivers {
        let module = |device: &str, name: &str| (spelled(device), BTreeSet::from([name.to_owned()]));
        Drivers {
            builtin: BTreeSet::from([spelled("nxp,pcf85063a")]),
            modules: BTreeMap::from([
                module("brcm,bcm2835-i2c", "i2c_bcm2835"),
                module("i2c-mux-pinctrl", "i2c_mux_pinctrl"),
                module("nxp,pcf85063a", "another_rtc"),
                module("brcm,bcm43438-bt", "hci_uart"),
                module("raspberrypi,firmware-clocks asks for", "raspberrypi_cpufreq"),
            ]),
        }
    }

    fn board() -> [Enabled; 6] {
        [
            device("/soc/i2c@7e205000", &["brcm,bcm2711-i2c", "brcm,bcm2835-i2c"]),
            device("/i2c-mux0", &["i2c-mux-pinctrl"]),
            device("/i2c-mux0/i2c@0/rtc@51", &["nxp,pcf85063a"]),
            device("/soc/serial@7e201000/bluetooth", &["brcm,bcm43438-bt"]),
            device("/soc/firmware/clocks", &["raspberrypi,firmware-clocks"]),
            device("/soc/timer@7e003000", &["brcm,bcm2835-system-timer"]),
        ]
    }

    #[test]
    fn a_device_without_its_module_is_named_and_what_the_kernel_drives_itself_is_not() {
        let missing = drivers().missing(&board(), &BTreeSet::from(["nvme"]));
        let named: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                r#"/soc/i2c@7e205000 needs "i2c_bcm2835""#,
                r#"/i2c-mux0 needs "i2c_mux_pinctrl""#,
                r#"/soc/firmware/clocks needs "raspberrypi_cpufreq""#,
            ]
        );
        let shipped = BTreeSet::from(["i2c_bcm2835", "i2c_mux_pinctrl", "raspberrypi_cpufreq"]);
        assert!(drivers().missing(&board(), &shipped).is_empty());
    }

    #[test]
    fn the_device_of_an_alias_is_what_stands_behind_its_c() {
        assert_eq!(compatible("of:N*T*Cbrcm,bcm2711-thermal").unwrap(), "brcm,bcm2711_thermal");
        assert_eq!(compatible("of:N*T*Cbrcm,bcm2711-thermalC*").unwrap(), "brcm,bcm2711_thermal");
        assert_eq!(compatible("of:Nserial_busT*Cx,y").unwrap(), "x,y");
        for other in ["pci:v000010ECd00008168sv*sd*bc*sc*i*", "of:N*", "of:N*T*", ""] {
            assert_eq!(compatible(other), None, "{other}");
        }
    }

    #[test]
    fn every_omission_has_a_reason() {
        assert!(OMITTED.iter().all(|(name, reason)| !name.contains('-') && reason.split(' ').count() > 3));
    }
}
