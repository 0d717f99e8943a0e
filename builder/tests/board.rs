//! An image drives the board that it is for.

use crate::end_to_end::project::{Project, Warmth};
use crate::end_to_end::said;

#[test]
fn an_image_whose_board_would_lack_its_clock_or_its_rtcs_bus_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    let base = "profiles/parts/base.toml";
    project.edit(base, r#""raspberrypi-cpufreq", "cpufreq-dt", "bcm2711_thermal","#, "");
    project.edit(base, r#""i2c-bcm2835", "i2c-mux-pinctrl","#, "");
    let text = said(&project.build(&[]).output().unwrap(), 1);
    for (board, device, module) in [
        ("bcm2711-rpi-cm4-io.dtb", "/soc/firmware/clocks", "raspberrypi_cpufreq"),
        ("bcm2711-rpi-cm4-io.dtb", "/soc/firmware/clocks", "cpufreq_dt"),
        ("bcm2711-rpi-cm4-io.dtb", "/soc/avs-monitor@7d5d2000/thermal", "bcm2711_thermal"),
        ("bcm2711-rpi-cm4-io.dtb", "/soc/i2c@7e205000", "i2c_bcm2835"),
        ("bcm2711-rpi-cm4-io.dtb", "/i2c-mux0", "i2c_mux_pinctrl"),
        ("bcm2711-rpi-4-b.dtb", "/soc/firmware/clocks", "raspberrypi_cpufreq"),
    ] {
        let line = format!("{board}: {device} needs \"{module}\"");
        assert!(text.contains(&line), "no {line:?} in:\n{text}");
    }
    assert!(!project.image().exists());
}
