//! Writes tonic's client and server for the comparison's one service, without protoc.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "compare")]
    tonic_service();
}

/// `bench.Echo` with a unary `Say` and a server-streaming `Pour`.
#[cfg(feature = "compare")]
fn tonic_service() {
    use tonic_build::manual::{Builder, Method, Service};

    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("crate::compare::kinds::tonic::Body")
            .output_type("crate::compare::kinds::tonic::Body")
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .package("bench")
        .name("Echo")
        .method(method("say", "Say").build())
        .method(method("pour", "Pour").server_streaming().build())
        .build();
    Builder::new().compile(&[service]);
}
