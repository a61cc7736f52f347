import type { ProjectPatch, ProjectRequest, ProjectView } from '../contract/budget.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import { bookedMicros, scopeOf } from '../core/ledger.ts'
import { LIMITS } from '../limits.ts'
import type { Principal } from './access.ts'
import { heldMicros } from './accounts.ts'
import { budgetView, removeBudget, saveBudget } from './budgets.ts'
import type { ProjectRow } from './ledger-store.ts'
import { type Parts, saveIdentity } from './parts.ts'
import { isoTime } from './views.ts'

/**
 * Declared projects. A project is a label of jobs and need not be declared; declaring it gives it a place where its weight and
 * its budget are set. What changes one runs in a transaction.
 */

export const listProjects = (parts: Parts, principal: Principal, now: number): ProjectView[] =>
  parts.ledger
    .projects()
    .filter(({ name }) => sees(principal, name))
    .map((row) => projectView(parts, row, now))

export const readProject = (parts: Parts, principal: Principal, name: string, now: number): Result<ProjectView> => {
  const row = sees(principal, name) ? find(parts, name) : undefined
  return row ? ok(projectView(parts, row, now)) : noProject()
}

export const createProject = (parts: Parts, request: ProjectRequest, now: number): Result<ProjectView> => {
  const { name, ...settings } = request
  if (find(parts, name)) return refuse('conflict', 'A project of this name exists.', { param: 'name' })
  if (parts.ledger.projects().length >= LIMITS.projectsPerInstance)
    return refuse('conflict', `An instance holds at most ${LIMITS.projectsPerInstance} projects.`)
  const row = { name, created_at_ms: now }
  const changed = change(parts, name, settings, now)
  if (!changed.ok) return changed
  parts.ledger.insertProject(row)
  parts.accounts.declare(name)
  return ok(projectView(parts, row, now))
}

export const changeProject = (parts: Parts, name: string, patch: ProjectPatch, now: number): Result<ProjectView> => {
  const row = find(parts, name)
  if (!row) return noProject()
  const changed = change(parts, name, patch, now)
  return changed.ok ? ok(projectView(parts, row, now)) : changed
}

/** Its jobs and what they cost stay. */
export const deleteProject = (parts: Parts, name: string): Result<null> => {
  if (!find(parts, name)) return noProject()
  removeBudget(parts, scopeOf(name))
  setWeight(parts, name, 1)
  parts.ledger.deleteProject(name)
  parts.accounts.undeclare(name)
  return ok(null)
}

const change = (parts: Parts, name: string, { weight, budget }: ProjectPatch, now: number): Result<null> => {
  const isNewWeight = weight !== undefined && weight !== 1 && parts.books.weightOf(name) === 1
  if (isNewWeight && Object.keys(parts.books.weights).length >= LIMITS.projectsWeighted)
    return refuse('conflict', `An instance weighs at most ${LIMITS.projectsWeighted} projects.`, { param: 'weight' })
  if (budget) {
    const saved = saveBudget(parts, scopeOf(name), budget, now)
    if (!saved.ok) return saved
  } else if (budget === null) removeBudget(parts, scopeOf(name))
  if (weight !== undefined) setWeight(parts, name, weight)
  return ok(null)
}

/** Weights stand in the instance's configuration and nowhere else. */
const setWeight = (parts: Parts, name: string, weight: number): void => {
  if (parts.books.weightOf(name) === weight) return
  const { [name]: _, ...others } = parts.identity.config.project_weights ?? {}
  const project_weights = weight === 1 ? others : { ...others, [name]: weight }
  parts.identity.config = { ...parts.identity.config, project_weights }
  saveIdentity(parts.admin, parts.identity)
  parts.books.weights = project_weights
}

const projectView = (parts: Parts, row: ProjectRow, now: number): ProjectView => {
  const account = parts.accounts.ledger.get(scopeOf(row.name))
  return {
    name: row.name,
    object: 'project',
    weight: parts.books.weightOf(row.name),
    budget: budgetView(parts, scopeOf(row.name), now),
    spent_usd: account ? microsToUsd(bookedMicros(account.total)) : 0,
    held_usd: account ? microsToUsd(heldMicros(account)) : 0,
    created_at: isoTime(row.created_at_ms),
  }
}

const sees = (principal: Principal, name: string): boolean => principal.project === null || principal.project === name

const find = (parts: Parts, name: string): ProjectRow | undefined =>
  parts.ledger.projects().find((row) => row.name === name)

const noProject = () => refuse('not_found', 'There is no such project.')
