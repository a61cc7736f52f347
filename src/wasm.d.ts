/** The bundler hands over WebAssembly compiled: code may not compile any at run time. */
declare module '*.wasm' {
  const compiled: WebAssembly.Module
  export default compiled
}
