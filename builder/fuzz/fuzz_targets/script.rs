#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microdc::foreign::run("script", bytes));
