//! The command `portmesh-cert`.

fn main() -> std::process::ExitCode {
    portmesh::cli::cert_main()
}
