import * as v from 'valibot'
import { BudgetRequest, BudgetView, LedgerView, ProjectPatch, ProjectRequest, ProjectView } from '../contract/budget.ts'
import { fault } from '../contract/fault.ts'
import { Name } from '../contract/fields.ts'
import { callerOf } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { json, noContent, unwrap } from './respond.ts'

/** Budgets, the ledger, projects. */

/** `instance` or `project:{name}`; the colon may be percent-encoded. What cannot be a scope is answered like one that is none. */
const scopeIn = (context: Context): string => {
  const scope = decoded(context.params['scope'] ?? '')
  if (scope === 'instance') return scope
  if (scope.startsWith('project:') && v.is(Name, scope.slice('project:'.length))) return scope
  throw new Refused(fault('not_found', 'There is no such budget: a scope is "instance" or "project:{name}".'))
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const projectIn = (context: Context): string => {
  const name = v.safeParse(Name, context.params['project'])
  if (!name.success) throw new Refused(fault('not_found', 'There is no such project.'))
  return name.output
}

const setBudget = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, BudgetRequest)
  return json(unwrap(await instanceOf(context).setBudget(caller, scopeIn(context), request)))
}

const readBudget = async (context: Context): Promise<Response> =>
  json(unwrap(await instanceOf(context).budget(await callerOf(context), scopeIn(context))))

const listBudgets = async (context: Context): Promise<Response> =>
  json({ data: unwrap(await instanceOf(context).budgets(await callerOf(context))) })

const deleteBudget = async (context: Context): Promise<Response> => {
  unwrap(await instanceOf(context).deleteBudget(await callerOf(context), scopeIn(context)))
  return noContent()
}

const readLedger = async (context: Context): Promise<Response> =>
  json(unwrap(await instanceOf(context).ledger(await callerOf(context))))

const createProject = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, ProjectRequest)
  return json(unwrap(await instanceOf(context).createProject(caller, request)), 201)
}

const listProjects = async (context: Context): Promise<Response> =>
  json({ data: unwrap(await instanceOf(context).projects(await callerOf(context))) })

const readProject = async (context: Context): Promise<Response> =>
  json(unwrap(await instanceOf(context).project(await callerOf(context), projectIn(context))))

const changeProject = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const change = await readBody(context, ProjectPatch)
  return json(unwrap(await instanceOf(context).changeProject(caller, projectIn(context), change)))
}

const deleteProject = async (context: Context): Promise<Response> => {
  unwrap(await instanceOf(context).deleteProject(await callerOf(context), projectIn(context)))
  return noContent()
}

const base = '/v1/instances/:instance'

export const moneyRoutes: Route[] = [
  {
    method: 'GET',
    path: `${base}/budgets`,
    summary: 'List budgets',
    access: 'key',
    answers: { 200: v.object({ data: v.array(BudgetView) }) },
    handle: listBudgets,
  },
  {
    method: 'GET',
    path: `${base}/budgets/:scope`,
    summary: 'Read a budget',
    access: 'key',
    answers: { 200: BudgetView },
    handle: readBudget,
  },
  {
    method: 'PUT',
    path: `${base}/budgets/:scope`,
    summary: 'Set the budget of the instance or of a project',
    access: 'key',
    body: BudgetRequest,
    answers: { 200: BudgetView },
    handle: setBudget,
  },
  {
    method: 'DELETE',
    path: `${base}/budgets/:scope`,
    summary: 'Delete a budget',
    access: 'key',
    answers: { 204: null },
    handle: deleteBudget,
  },
  {
    method: 'GET',
    path: `${base}/ledger`,
    summary: 'Prove the books: sums, holds, counters and their difference',
    access: 'key',
    answers: { 200: LedgerView },
    handle: readLedger,
  },
  {
    method: 'POST',
    path: `${base}/projects`,
    summary: 'Declare a project',
    access: 'key',
    body: ProjectRequest,
    answers: { 201: ProjectView },
    handle: createProject,
  },
  {
    method: 'GET',
    path: `${base}/projects`,
    summary: 'List declared projects',
    access: 'key',
    answers: { 200: v.object({ data: v.array(ProjectView) }) },
    handle: listProjects,
  },
  {
    method: 'GET',
    path: `${base}/projects/:project`,
    summary: 'Read a project',
    access: 'key',
    answers: { 200: ProjectView },
    handle: readProject,
  },
  {
    method: 'PATCH',
    path: `${base}/projects/:project`,
    summary: 'Change a project',
    access: 'key',
    body: ProjectPatch,
    answers: { 200: ProjectView },
    handle: changeProject,
  },
  {
    method: 'DELETE',
    path: `${base}/projects/:project`,
    summary: 'Delete a declared project and its budget; its jobs stay',
    access: 'key',
    answers: { 204: null },
    handle: deleteProject,
  },
]
