#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firstboot::foreign::run("kubernetes_answer", bytes));
