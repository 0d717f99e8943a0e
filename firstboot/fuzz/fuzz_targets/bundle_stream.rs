#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firstboot::foreign::run("bundle_stream", bytes));
