// Removes what a build made, so that nothing of an older one is packed or run.
import { rmSync } from "node:fs"

for (const folder of ["dist", ".build"])
  rmSync(new URL(`../${folder}`, import.meta.url), { recursive: true, force: true })
