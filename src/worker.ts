import { handle } from './edge/app.ts'
import type { Env } from './env.ts'

export { Instance } from './instance/instance.ts'
export { Lane } from './job/lane.ts'

export default { fetch: handle } satisfies ExportedHandler<Env>
