#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| scamp_proto::sim::bodies::mp(octets));
