"""Pages in German, French and Spanish: the demo's corpus is English, so these must not reach it."""

from __future__ import annotations

GERMAN = """\
Wer eine Programmbibliothek zum ersten Mal benutzt, liest selten die ganze Anleitung. Man sucht
ein Beispiel, das dem eigenen Vorhaben ähnelt, schreibt es ab und ändert es so lange, bis es das
Richtige tut. Daran ist nichts verkehrt, solange das Beispiel gut gewählt ist und der Leser
erfährt, welche Teile er bedenkenlos ändern darf.

Eine gute Beschreibung beginnt deshalb nicht mit der Liste aller Funktionen, sondern mit der
Frage, wozu das Ganze da ist. Was wird hineingegeben, was kommt heraus, und was geschieht, wenn
etwas schiefgeht? Erst danach folgen die Einzelheiten, möglichst in der Reihenfolge, in der man
sie bei der Arbeit wirklich braucht. Seltene Sonderfälle gehören in einen eigenen Abschnitt am
Ende, damit sie niemandem den Weg versperren.

Besonders wichtig sind die Fehlermeldungen. Sie werden häufiger gelesen als jede Anleitung, und
meistens von Menschen, die gerade unter Zeitdruck stehen. Eine Meldung soll sagen, welcher Wert
nicht angenommen wurde, welcher erwartet worden wäre und was der nächste Schritt ist. Wer nur
schreibt, dass ein unbekannter Fehler aufgetreten sei, überlässt dem Leser die ganze Arbeit und
darf sich über Rückfragen nicht wundern.

Schließlich lohnt es sich, alte Texte regelmäßig zu prüfen. Programme ändern sich schneller als
ihre Beschreibungen, und nichts verwirrt so sehr wie eine Anleitung, die von einer Schaltfläche
spricht, die es seit Jahren nicht mehr gibt. Am besten werden die Beispiele zusammen mit dem
Programm getestet: Dann fällt sofort auf, wenn eines von ihnen nicht mehr stimmt, und niemand muss
sich auf sein Gedächtnis verlassen.

Zum Schluss noch ein Rat aus der Praxis: Man lasse jemanden lesen, der das Programm nicht kennt,
und schaue ihm dabei über die Schulter, ohne etwas zu erklären. Jede Stelle, an der er zögert, ist
eine Stelle, an der ein Satz fehlt."""

FRENCH = """\
Les grands recueils de textes ne se lisent pas comme des livres. Personne ne les parcourt du début
à la fin, et pourtant chacun de leurs défauts finit par se voir. Une page copiée mille fois pèse
mille fois plus lourd qu'une page unique, et un modèle qui apprend sur un tel recueil répétera
volontiers ce qu'il a trop souvent rencontré.

C'est pourquoi le travail de nettoyage est au moins aussi important que la collecte elle-même. Il
faut d'abord séparer le texte de tout ce qui l'entoure : les menus, les annonces, les avis sur les
témoins de connexion et les listes de liens que l'on retrouve au bas de chaque page. Ensuite
viennent les doublons, exacts ou approchés, qu'il faut comparer avec soin, car deux pages qui se
ressemblent ne disent pas toujours la même chose.

La langue pose une autre difficulté. Une page peut mélanger plusieurs langues, citer un poème
étranger ou présenter un long extrait de code au milieu d'une explication. Les outils qui devinent
la langue d'un texte se trompent rarement sur un article entier, mais ils hésitent dès que le
passage devient court. Il vaut donc mieux leur donner assez de matière et garder la note de
confiance qu'ils attribuent à leur réponse.

Enfin, il ne faut jamais supprimer une page sans écrire pourquoi. Celui qui reprendra le travail
dans un an voudra savoir ce qui manque et pour quelle raison. Une ligne suffit : l'adresse de la
page, l'étape qui l'a écartée et le motif. Ces lignes prennent peu de place, et elles évitent de
longues discussions le jour où un résultat surprend.

On aurait tort de croire que ces précautions ralentissent le travail. Au contraire, elles
permettent de recommencer une seule étape sans refaire toutes les autres, et de montrer à chacun
le chemin qu'une page a suivi."""

SPANISH = """\
Cuando un programa recorre la red para recoger páginas, lo primero que debe aprender es a esperar.
Cada sitio tiene sus propios límites, y un visitante que pide mil documentos por segundo no es un
lector, sino una carga. Por eso los buenos recolectores visitan muchos sitios a la vez, pero a
cada uno le hacen una sola pregunta y aguardan la respuesta antes de hacer la siguiente.

También conviene leer las reglas de la casa. Casi todos los servidores publican un archivo en el
que explican qué partes pueden visitarse y cuáles no. Respetarlo no cuesta nada y evita disgustos:
quien entra donde no debe acaba bloqueado, y con razón. Si el archivo no puede leerse porque el
servidor está averiado, lo prudente es dejar la visita para otro día.

Los enlaces que publican los usuarios merecen una desconfianza especial. Algunos llevan a
direcciones que ya no existen, otros dan vueltas sin llegar a ninguna parte y unos pocos apuntan a
máquinas que nadie quería mostrar al público. Un recolector cuidadoso comprueba cada dirección
antes de llamar a la puerta y abandona la búsqueda cuando una respuesta tarda demasiado o pesa
mucho más de lo razonable.

Lo que se recoge debe guardarse tal como llegó. El texto limpio puede volver a calcularse cuando
mejoren las herramientas, pero una página que se ha perdido no vuelve. Junto al documento se
anotan la fecha, la dirección final y las cabeceras de la respuesta, porque sin ellas resulta
imposible saber, años después, de dónde salió cada frase.

Por último, hay que contar. Cada enlace termina en algún sitio: en el archivo, en la lista de
errores o entre los que quedan para más tarde. Si las sumas no cuadran, alguna página se ha
perdido por el camino, y es mejor descubrirlo hoy que cuando todo el trabajo esté terminado."""

# Path to (title, text).
TEXTS = {
    "/de/anleitungen-schreiben": ("Anleitungen schreiben", GERMAN),
    "/fr/nettoyer-un-corpus": ("Nettoyer un corpus", FRENCH),
    "/es/recorrer-la-red": ("Recorrer la red con cuidado", SPANISH),
}
