"""Every sentence of the pages in Spanish and English; `{name}` stands for a value.

Sentences about a single credential come from the verifier; here is what to do about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from node.web.language import Language


@dataclass(frozen=True, slots=True)
class _Both:
    es: str
    en: str


_TEXTS: Final[Mapping[str, _Both]] = {
    # --- every page ---
    "skip": _Both("Saltar al contenido", "Skip to content"),
    "switch": _Both("English", "Español"),
    "tagline": _Both("Red de microcredenciales", "Microcredential network"),
    "footer_run_by": _Both(
        "Nodo operado por {institution} · versión {version}", "Node run by {institution} · version {version}"
    ),
    "footer_privacy": _Both(
        "Esta página no usa cookies ni recursos de terceros, y no guarda lo que usted sube.",
        "This page uses no cookies and nothing from third parties, and keeps nothing that you upload.",
    ),
    "home_link": _Both("Volver al inicio", "Back to the start"),
    # --- home ---
    "home_title": _Both("Pila: microcredenciales que se apilan", "Pila: microcredentials that stack"),
    "what": _Both(
        "Pila es el registro compartido en el que las autoridades educativas y las instituciones acreditadas emiten, "
        "revocan y apilan microcredenciales. Cada institución opera su propio nodo; ninguna puede cambiar por sí sola "
        "lo que ya quedó asentado.",
        "Pila is the shared register in which education authorities and accredited institutions issue, revoke and "
        "stack microcredentials. Each institution runs a node of its own; none can change on its own what has been "
        "recorded.",
    ),
    "what_privacy": _Both(
        "En la cadena no hay datos personales: ni nombres, ni matrículas, ni calificaciones. Quien tiene la credencial "
        "decide a quién la muestra, y cualquiera a quien la muestre puede verificarla.",
        "There is no personal data on the chain: no names, no student numbers, no grades. Whoever holds the credential "
        "decides who sees it, and anybody who sees it can verify it.",
    ),
    # --- verify box ---
    "verify_title": _Both("Verificar una credencial", "Verify a credential"),
    "verify_intro": _Both(
        "Elija el archivo que le entregaron (termina en .pila.json) o pegue su contenido.",
        "Choose the file that you were given (it ends in .pila.json) or paste its content.",
    ),
    "file_label": _Both("Archivo de la credencial", "Credential file"),
    "file_hint": _Both("Un archivo .pila.json de hasta {size} MB.", "One .pila.json file of up to {size} MB."),
    "or": _Both("o bien", "or"),
    "text_label": _Both("Contenido pegado", "Pasted content"),
    "text_hint": _Both(
        "Péguelo completo, desde la primera llave { hasta la última }.",
        "Paste all of it, from the first brace { to the last }.",
    ),
    "submit": _Both("Verificar", "Verify"),
    "submit_note": _Both(
        "Se verifica en este servidor y se olvida al responder: nada se guarda ni se anota.",
        "It is verified on this server and forgotten with the answer: nothing is stored or logged.",
    ),
    "submit_offline": _Both(
        "¿Prefiere no enviarla? Verifíquela en su equipo, sin red, con:",
        "Rather not send it? Verify it on your own machine, without any network, with:",
    ),
    # --- network ---
    "network_title": _Both("Estado de la red", "State of the network"),
    "network_current": _Both("La red está al día.", "The network is up to date."),
    "network_syncing": _Both(
        "Este nodo todavía se está poniendo al día: lo que muestra puede estar atrasado.",
        "This node is still catching up: what it shows may be behind.",
    ),
    "network_quiet": _Both(
        "Hace {age} que no hay un bloque nuevo. Lo ya asentado sigue siendo verificable.",
        "There has been no new block for {age}. What was recorded can still be verified.",
    ),
    "chain_id": _Both("Red", "Network"),
    "genesis_hash": _Both("Huella del génesis", "Genesis hash"),
    "genesis_hint": _Both(
        "Compárela con la que publica su autoridad educativa: identifica a esta red y a ninguna otra.",
        "Compare it with the one your education authority publishes: it names this network and no other.",
    ),
    "height": _Both("Altura", "Height"),
    "last_block": _Both("Último bloque", "Last block"),
    "block_hash": _Both("Huella del último bloque", "Hash of the last block"),
    "ago": _Both("hace {age}", "{age} ago"),
    "peers": _Both("Nodos conectados a este", "Nodes connected to this one"),
    "counts_title": _Both("Lo asentado", "What is recorded"),
    "count_institutions": _Both("instituciones", "institutions"),
    "count_definitions": _Both("definiciones en el catálogo", "definitions in the catalogue"),
    "count_pathways": _Both("rutas de apilamiento", "stacking pathways"),
    "count_transactions": _Both("transacciones", "transactions"),
    "count_issued": _Both("credenciales emitidas", "credentials issued"),
    "count_revoked": _Both("credenciales revocadas", "credentials revoked"),
    "validators_title": _Both("Validadores", "Validators"),
    "validators_intro": _Both(
        "{count} instituciones acuerdan cada bloque; bastan {quorum} de acuerdo.",
        "{count} institutions agree on every block; {quorum} in agreement are enough.",
    ),
    "validators_caption": _Both("Quiénes firmaron el bloque {height}", "Who signed block {height}"),
    "validator_institution": _Both("Institución", "Institution"),
    "validator_part": _Both("En el último bloque", "In the last block"),
    "part_yes": _Both("Firmó", "Signed"),
    "part_no": _Both("Sin su firma", "Without its signature"),
    "part_unknown": _Both("Aún sin firmas", "No signatures yet"),
    "part_note": _Both(
        "Faltar en un bloque es normal: se guardan las primeras {quorum} firmas o más, las que llegaron a tiempo.",
        "To be missing from one block is normal: the signatures kept are the {quorum} or more that came in time.",
    ),
    # --- result ---
    "result_title": _Both("Resultado de la verificación", "Result of the verification"),
    "result_yes": _Both("Verificada: todo lo comprobado se cumple", "Verified: everything that was checked holds"),
    "result_no": _Both("No verificada: hay algo que no se cumple", "Not verified: something does not hold"),
    "result_yes_next": _Both(
        "Compruebe además que la credencial es de la persona que tiene enfrente y que dice lo que usted necesita.",
        "Check also that the credential belongs to the person in front of you and says what you need.",
    ),
    "result_no_next": _Both(
        "Esto no siempre significa fraude: abajo está qué no se cumple, por qué, y qué hacer.",
        "This does not always mean fraud: below is what does not hold, why, and what to do.",
    ),
    "result_unreadable": _Both(
        "No se pudo leer como credencial de Pila: quizá se dañó, se editó o le falta una parte. Pida el archivo "
        ".pila.json original.",
        "It could not be read as a Pila credential: perhaps it was damaged, edited or cut short. Ask for the "
        "original .pila.json file.",
    ),
    "result_bad": _Both("No se cumple: {names}.", "Does not hold: {names}."),
    "result_tally": _Both("{good} de {all} comprobaciones se cumplen.", "{good} of {all} checks hold."),
    "result_file": _Both("Archivo comprobado: {name}", "File checked: {name}"),
    "result_text": _Both("Se comprobó el contenido pegado.", "The pasted content was checked."),
    "result_as_of": _Both(
        "Comprobado el {time} contra la red {chain} (altura {height}).",
        "Checked on {time} against the network {chain} (height {height}).",
    ),
    "result_again": _Both("Verificar otra", "Verify another"),
    "content_title": _Both("Lo que dice la credencial", "What the credential says"),
    "content_issuer": _Both("Emitida por", "Issued by"),
    "content_definition": _Both("Definición en el catálogo", "Definition in the catalogue"),
    "content_id": _Both("Identificador de la credencial", "Credential id"),
    "claim_/title": _Both("Microcredencial", "Microcredential"),
    "claim_/name": _Both("A nombre de", "Awarded to"),
    "claim_/given_name": _Both("Nombre", "Given name"),
    "claim_/family_name": _Both("Apellidos", "Family name"),
    "claim_/awarded_on": _Both("Fecha de otorgamiento", "Awarded on"),
    "claim_/grade": _Both("Calificación", "Grade"),
    "claim_/student_number": _Both("Matrícula", "Student number"),
    "claim_/email": _Both("Correo", "E-mail"),
    "claim_/evidence_url": _Both("Evidencia", "Evidence"),
    "lights_title": _Both("Comprobaciones", "Checks"),
    "light_yes": _Both("Se cumple", "Holds"),
    "light_no": _Both("No se cumple", "Does not hold"),
    "light_unknown": _Both("No se pudo saber", "Could not be told"),
    "light_next": _Both("Qué hacer:", "What to do:"),
    "light_detail": _Both("Detalle técnico", "Technical detail"),
    "light_document": _Both("Documento", "Document"),
    "light_issued": _Both("Emisión", "Issue"),
    "light_issuer": _Both("Institución emisora", "Issuing institution"),
    "light_key": _Both("Llave de firma", "Signing key"),
    "light_status": _Both("Vigencia", "Status"),
    "light_dates": _Both("Fechas", "Dates"),
    "light_components": _Both("Componentes", "Components"),
    "light_network": _Both("Red", "Network"),
    "next_document": _Both(
        "Pida el archivo original, sin abrirlo ni volver a guardarlo en otro programa.",
        "Ask for the original file, not opened or saved again in another program.",
    ),
    "next_issued": _Both(
        "Pida el archivo que entregó la institución; si es ese, pregunte a la institución emisora.",
        "Ask for the file that the institution handed out; if this is it, ask the issuing institution.",
    ),
    "next_issuer": _Both(
        "Vea desde cuándo: la frase distingue la acreditación de entonces y la de hoy. Si duda, pregunte a la "
        "autoridad educativa.",
        "See since when: the sentence tells the accreditation of then from that of today. If in doubt, ask the "
        "education authority.",
    ),
    "next_key": _Both(
        "Pida a la institución emisora que vuelva a emitir la credencial con una llave en buen estado.",
        "Ask the issuing institution to issue the credential again with a key that is good.",
    ),
    "next_status": _Both(
        "Pregunte a quien se la mostró si tiene una credencial más reciente, o a la institución emisora por el motivo.",
        "Ask whoever showed it for a newer credential, or the issuing institution for the reason.",
    ),
    "next_dates": _Both(
        "Pregunte si hay una renovación: toda credencial tiene fecha de término.",
        "Ask whether it was renewed: every credential has an end date.",
    ),
    "next_components": _Both(
        "Pida las credenciales que la componen y verifíquelas una por una.",
        "Ask for the credentials that it is made of and verify them one by one.",
    ),
    "next_network": _Both(
        "Puede ser una credencial buena de otra red, o una prueba dañada: pida el archivo original o una prueba "
        "reciente.",
        "It may be a good credential of another network, or a damaged proof: ask for the original file or a recent "
        "proof.",
    ),
    # --- what can go wrong ---
    "fault_title": _Both("No hay nada que verificar todavía", "Nothing to verify yet"),
    "fault_no_form": _Both(
        "El envío no llegó como formulario. Use el recuadro de esta página.",
        "What was sent did not come as a form. Use the box on this page.",
    ),
    "fault_nothing_chosen": _Both(
        "No eligió ningún archivo ni pegó contenido. Haga una de las dos cosas y vuelva a intentarlo.",
        "You neither chose a file nor pasted content. Do one of the two and try again.",
    ),
    "fault_empty": _Both(
        "El archivo está vacío. Pida que se lo envíen de nuevo.",
        "The file is empty. Ask for it to be sent again.",
    ),
    "fault_foreign_file": _Both(
        "Ese archivo es {detail}. La credencial verificable es el archivo que termina en .pila.json; pídalo a "
        "quien le mostró este.",
        "That file is {detail}. The credential that can be verified is the file that ends in .pila.json; ask "
        "whoever showed you this one.",
    ),
    "fault_not_utf8": _Both(
        "El archivo no es texto UTF-8 (desde el byte {detail}). Quizá se dañó o no es el .pila.json; pida el original.",
        "The file is not UTF-8 text (from byte {detail}). Perhaps it was damaged or is not the .pila.json; ask for "
        "the original.",
    ),
    "fault_not_json": _Both(
        "El contenido no es JSON. Quizá falta una parte: debe empezar con { y terminar con }.",
        "The content is not JSON. Perhaps a part is missing: it must begin with { and end with }.",
    ),
    "fault_not_a_bundle": _Both(
        "El contenido es JSON, pero no una credencial de Pila tal como se entregó. Use el archivo .pila.json "
        "original, sin editarlo ni darle formato.",
        "The content is JSON, but not a Pila credential as it was handed out. Use the original .pila.json file, "
        "not edited or reformatted.",
    ),
    "fault_too_large": _Both(
        "Lo enviado pesa demasiado: el límite es de {size} MB y una credencial pesa mucho menos.",
        "What was sent is too large: the limit is {size} MB, and a credential is much smaller.",
    ),
    "fault_too_slow": _Both(
        "El envío tardó demasiado y se interrumpió. Vuelva a intentarlo con una mejor conexión.",
        "The upload took too long and was broken off. Try again on a better connection.",
    ),
    # --- error pages ---
    "error_404": _Both("Esta página no existe", "This page does not exist"),
    "error_404_next": _Both(
        "Revise la dirección. Si una credencial lo trajo aquí, eso no le quita validez: verifíquela "
        "desde el inicio con su archivo.",
        "Check the address. If a credential brought you here, the credential is none the worse: verify it from the "
        "start page with its file.",
    ),
    "error_405": _Both("Esta página no se usa así", "This page is not used that way"),
    "error_405_next": _Both(
        "Vuelva al inicio y use el recuadro de verificación.", "Go back to the start and use the verify box."
    ),
    "error_500": _Both("Algo falló en este nodo", "Something failed on this node"),
    "error_500_next": _Both(
        "No es culpa de usted ni de la credencial. Vuelva a intentarlo; si se repite, use el nodo de otra institución.",
        "It is not your fault, nor the credential's. Try again; if it happens again, use another institution's node.",
    ),
    "error_503": _Both("Este nodo está muy ocupado", "This node is very busy"),
    "error_503_next": _Both(
        "Espere unos segundos y vuelva a intentarlo, o verifique con el programa pila en su equipo.",
        "Wait a few seconds and try again, or verify with the pila program on your own machine.",
    ),
    "error_other": _Both("Esta petición no se puede atender", "This request cannot be served"),
    "error_other_next": _Both("Vuelva al inicio.", "Go back to the start."),
    # --- time ---
    "seconds": _Both("{n} s", "{n} s"),
    "minutes": _Both("{n} min", "{n} min"),
    "hours": _Both("{n} h", "{n} h"),
    "days": _Both("{n} d", "{n} d"),
}

BY_LANGUAGE: Final[Mapping[Language, Mapping[str, str]]] = MappingProxyType(
    {
        Language.SPANISH: MappingProxyType({name: both.es for name, both in _TEXTS.items()}),
        Language.ENGLISH: MappingProxyType({name: both.en for name, both in _TEXTS.items()}),
    }
)

MONTHS: Final[Mapping[Language, tuple[str, ...]]] = {
    Language.SPANISH: (
        "enero", "febrero", "marzo", "abril", "mayo", "junio",
        "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    ),
    Language.ENGLISH: (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
}  # fmt: skip
