//! The command `portmesh`.

fn main() -> std::process::ExitCode {
    portmesh::cli::main()
}
