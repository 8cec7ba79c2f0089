import { createHash } from "node:crypto"
import type { DescEnum, DescField, DescMessage, DescMethod, DescService } from "@bufbuild/protobuf"
import { ScalarType } from "@bufbuild/protobuf"
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt"

/**
 * The contract as sorted lines, one for each service, call, message, field, enum and enum value; the same from the
 * generated descriptor and from the table that the contract was given in. Comments and order do not count.
 */
export type Rows = ReadonlyArray<string>

const canonical = (rows: Iterable<string>): Rows => [...new Set(rows)].toSorted()

/** The rows of a service and of everything its file declares. */
export const rowsOfDescriptor = (service: DescService): Rows => {
  const { file } = service
  if (file.services.length !== 1 || file.extensions.length > 0 || file.dependencies.length > 0) {
    throw new Error("the contract is one service, without extensions and imports")
  }
  return canonical([
    `service ${service.typeName}`,
    ...service.methods.map(rowOfMethod),
    ...file.messages.flatMap(rowsOfMessage),
    ...file.enums.flatMap(rowsOfEnum)
  ])
}

/** The rows of `wire.tsv`. Its tables do not name the package, so the caller does. */
export const rowsOfTable = (table: string, packageName: string): Rows => {
  const [head = "", ...lines] = table.trimEnd().split("\n")
  const columns = head.split("\t")
  return canonical(
    lines.flatMap((line) => {
      const cells = line.split("\t")
      const cell = (name: string): string => {
        const value = cells[columns.indexOf(name)]
        if (value === undefined) throw new Error(`no ${name} in ${JSON.stringify(line)}`)
        return value
      }
      switch (cell("what")) {
        case "rpc":
          return [
            `service ${packageName}.${cell("owner")}`,
            `rpc ${cell("name")} ${cell("request")} -> ${cell("response")} ${cell("mode")}`
          ]
        case "field":
          return [
            `message ${cell("owner")}`,
            `field ${cell("owner")}.${cell("name")} = ${cell("number")} ${cell("type")} ${cell("label")}`
          ]
        case "enum":
          return [`enum ${cell("owner")}`, `value ${cell("owner")}.${cell("name")} = ${cell("number")}`]
        default:
          throw new Error(`what is ${JSON.stringify(line)}?`)
      }
    })
  )
}

/** The fingerprint of a contract, in the form of `wire.digest`. */
export const digestOf = (rows: Rows): string =>
  `${createHash("sha256").update(rows.join("\n")).digest("hex")} ${rows.length} rows`

const rowOfMethod = (method: DescMethod): string => {
  const mode = method.methodKind === "server_streaming" ? "server-stream" : method.methodKind
  return `rpc ${method.name} ${method.input.name} -> ${method.output.name} ${mode}`
}

const rowsOfEnum = (desc: DescEnum): ReadonlyArray<string> => [
  `enum ${desc.name}`,
  ...desc.values.map((value) => `value ${desc.name}.${value.name} = ${value.number}`)
]

const rowsOfMessage = (desc: DescMessage): ReadonlyArray<string> => [
  `message ${desc.name}`,
  ...desc.fields.map(
    (field) => `field ${desc.name}.${field.name} = ${field.number} ${typeOf(field)} ${labelOf(field)}`
  ),
  ...desc.nestedMessages.flatMap(rowsOfMessage),
  ...desc.nestedEnums.flatMap(rowsOfEnum)
]

const labelOf = (field: DescField): string => {
  if (field.fieldKind === "map") return "map"
  if (field.fieldKind === "list") return "repeated"
  if (field.oneof !== undefined) return `oneof ${field.oneof.name}`
  // Singular means proto3's implicit presence; only messages know whether they were set.
  const presence = field.fieldKind === "message" ? FeatureSet_FieldPresence.EXPLICIT : FeatureSet_FieldPresence.IMPLICIT
  return field.presence === presence ? "optional" : `presence ${FeatureSet_FieldPresence[field.presence]}`
}

const typeOf = (field: DescField): string => {
  const element = field.enum?.name ?? field.message?.name ?? ScalarType[field.scalar ?? 0]?.toLowerCase()
  if (element === undefined) throw new Error(`no type for ${field}`)
  return field.fieldKind === "map" ? `map<${ScalarType[field.mapKey].toLowerCase()},${element}>` : element
}
