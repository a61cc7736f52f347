/** What `cloudflare:workers` and the test tools know the bindings by. */
type Bindings = import('./env.ts').Env
declare namespace Cloudflare {
  interface Env extends Bindings {}
}
